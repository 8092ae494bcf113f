# frozen_string_literal: true

require 'socket'
require 'tmpdir'
require 'weakref'
require_relative 'errors'
require_relative 'child'

module Forkpoint
  # What docs/protocol.md calls the lines of a child: the sockets between a parent and its children.
  module Family
    # Seconds for the children of one fork to come, and what each child adds: they start a few at a time.
    COME = 120.0
    COME_EACH = 1.0
    BACKLOG = 4096
    HEAD_MAX = 64
    ADDRESS_MAX = 107
    LINES = %w[life stdin stdout stderr channel].freeze
    LONGEST_POLL = 0.02

    @sockets = []

    class << self
      # A name for a socket in a directory with a long name: an address holds 107 bytes.
      # CRIU looks at it later as well.
      def short_path(path)
        return yield path if path.bytesize <= ADDRESS_MAX

        Dir.mktmpdir('fp-') do |directory|
          File.symlink(File.dirname(path), File.join(directory, 'd'))
          yield File.join(directory, 'd', File.basename(path))
        end
      end

      # In a child: connects to the parent. nil when it is not there any more.
      def reach(directory, fork)
        return nil unless fork.is_a?(Hash) && fork['socket']

        line = short_path(File.expand_path(fork['socket'], directory)) { |address| UNIXSocket.new(address) }
        line.write("#{fork['index']} channel\n")
        keep(line)
      rescue SystemCallError
        nil
      end

      def keep(socket)
        @sockets.select!(&:weakref_alive?)
        @sockets << WeakRef.new(socket)
        socket
      end

      # In a clone: all connections belong to the original.
      def abandon
        @sockets.each { |reference| reference.close if reference.weakref_alive? && !reference.closed? }
        @sockets.clear
      end
    end

    # Where the lines of one fork's children arrive.
    class Nursery
      def initialize(path, count)
        @children = Array.new(count) { |index| Child.new(index) }
        @path = path
        @server = Family.keep(Family.short_path(path) { |address| UNIXServer.new(address) })
        @server.listen(BACKLOG)
        @unknown = []
      end

      # Waits until every child lives or has failed; returns the living ones and the errors of the others.
      def settle
        deadline = now + COME + (COME_EACH * @children.length)
        waiting = @children.dup
        errors = []
        delay = 0.001
        until waiting.empty?
          accept
          waiting.reject! do |child|
            failure = child.born? ? nil : child.failure
            errors << failure if failure
            child.born? || failure
          end
          break if waiting.empty?

          if now > deadline
            waiting.each { |child| child.kill(:KILL) }
            errors.concat(waiting.map { |child| Error.new('ERR_FORKPOINT_TIMEOUT', "child #{child.index} did not come") })
            break
          end
          sleep delay
          delay = [delay * 2, LONGEST_POLL].min
        end
        close
        [@children.select(&:born?), errors]
      end

      # Gives up everything; for a fork that failed before its children were on their way.
      def abort
        accept
        @children.each { |child| child.kill(:KILL) }
        close
      end

      private

      def close
        @server.close
        @unknown.each { |line, _| line.close }
        File.unlink(@path)
      rescue SystemCallError
        # The directory of the pod is going away.
      end

      def accept
        loop do
          line = @server.accept_nonblock(exception: false)
          break unless line.is_a?(UNIXSocket)

          @unknown << [Family.keep(line), +'']
        end
        @unknown.reject! { |line, head| identify(line, head) }
      rescue IOError
        # It is closed already: all children have come.
      end

      # Reads `INDEX LINE`, byte by byte, because what the line carries stands right behind; whether it is settled.
      def identify(line, head)
        until head.include?("\n")
          byte = line.read_nonblock(1, exception: false)
          return false if byte == :wait_readable

          if byte.nil? || head.length > HEAD_MAX
            line.close
            return true
          end
          head << byte
        end
        index, kind = head.split
        known = index.match?(/\A\d+\z/) && @children[index.to_i] && LINES.include?(kind)
        known ? @children[index.to_i].add(kind, line) : line.close
        true
      end

      def now
        Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end
    end
  end
end
