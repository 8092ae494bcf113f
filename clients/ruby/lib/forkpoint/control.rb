# frozen_string_literal: true

require 'fileutils'
require 'json'
require_relative 'calls'
require_relative 'errors'

module Forkpoint
  # The control directory as one member uses it; docs/protocol.md says what its files mean.
  class Control
    REQUEST_MAX = 4096
    LINE_MAX = 1 << 20
    EMPTY_OPENS_MAX = 100
    FIFO_LIMIT = 5.0
    LONGEST_POLL = 0.02

    attr_reader :directory

    def initialize(directory, pid)
      @directory = directory
      @member = File.join(directory, 'members', pid.to_s)
      @listener = nil
      @rest = +''
    end

    def identity
      JSON.parse(File.read(File.join(@directory, 'identity.json')))
    end

    # The checkpoint that somebody outside asks for; empty when there is none.
    def ask
      JSON.parse(File.read(File.join(@directory, 'ask.json')))
    rescue Errno::ENOENT
      {}
    end

    # Writes members/PID/info.json; it appears whole or not at all.
    def write_info(info)
      FileUtils.mkdir_p(@member, mode: 0o700)
      fresh = File.join(@member, 'info.json.new')
      File.write(fresh, "#{JSON.generate(info)}\n")
      File.rename(fresh, File.join(@member, 'info.json'))
    end

    # Removes the member's directory, so that a later process with this pid is not taken for a member.
    def leave
      FileUtils.rm_rf(@member)
    end

    def send_request(request)
      line = "#{JSON.generate({ 'v' => 1 }.merge(request))}\n"
      if line.bytesize > REQUEST_MAX
        raise Error.new('ERR_FORKPOINT_OPTIONS', "the request is #{line.bytesize} bytes long and may have #{REQUEST_MAX}")
      end

      fifo = open_request
      begin
        # One write of up to PIPE_BUF bytes is all or nothing (pipe(7)).
        Calls.write(fifo, line)
      ensure
        Calls.close(fifo)
      end
    end

    # Waits a few seconds at most until the launcher has made the member's FIFO.
    def await_fifo
      deadline = now + FIFO_LIMIT
      until File.exist?(outcome)
        raise Error.new('ERR_FORKPOINT_NO_RUNTIME', "the launcher did not make #{outcome}") if now > deadline

        sleep 0.002
      end
    end

    # Listens for the children of one fork.
    def nursery(name, count)
      Family::Nursery.new(File.join(@directory, name), count)
    end

    # Keeps the FIFO open, so that the launcher can write its next line at once.
    def listen
      stop_listening
      # Read and write never blocks on a FIFO and never reads an end of file (fifo(7)).
      @rest = +''
      @listener = File.open(outcome, File::RDWR | File::NONBLOCK)
    end

    def stop_listening
      listener = @listener
      @listener = nil
      listener&.close
    end

    # Returns the next line, or nil when somebody else's checkpoint closed the FIFO meanwhile.
    def next_answer(limit)
      deadline = now + limit
      mine = @listener
      delay = 0.001
      loop do
        return nil if mine.nil? || !@listener.equal?(mine)

        line = available
        return parse(line) if line
        raise Error.new('ERR_FORKPOINT_TIMEOUT', "no answer from the launcher within #{limit} s") if now > deadline

        sleep delay
        delay = [delay * 2, LONGEST_POLL].min
      end
    end

    # Blocks in opening the FIFO until somebody writes: a dump finds this thread in open(2), which a restore repeats on the
    # FIFO of the new pod. With `pending` in the answer the FIFO stays open.
    def block_for_answer
      stop_listening
      # Ends of file without a line are opens of a writer that died; the next one may say something.
      EMPTY_OPENS_MAX.times do
        fifo = Calls.open(outcome, File::RDONLY)
        begin
          line, rest = read_line(fifo)
          next unless line

          answer = parse(line)
          if answer['pending'] == true
            # Opened before the first is closed: a FIFO that nobody has open forgets what is in it.
            listen
            @rest = rest
          end
          return answer
        ensure
          Calls.close(fifo)
        end
      end
      raise Error.new('ERR_FORKPOINT_PROTOCOL', "no line came on #{outcome}")
    end

    # Blocks a parked clone until it is handed over, and returns the answer with the arguments and variables that came. Whoever
    # parks it opens and closes the FIFO without a word to see whether it stands there.
    def block_for_assignment(answer)
      loop do
        fifo = Calls.open(File.join(@member, 'assign'), File::RDONLY)
        begin
          line, = read_line(fifo)
        ensure
          Calls.close(fifo)
        end
        next unless line

        assigned = JSON.parse(line)
        return answer.merge('args' => assigned['args'], 'env' => (answer['env'] || {}).merge(assigned['env'] || {}))
      end
    end

    private

    def outcome
      File.join(@member, 'outcome')
    end

    def open_request
      Calls.open(File.join(@directory, 'request'), File::WRONLY | File::NONBLOCK)
    rescue SystemCallError
      raise Error.new('ERR_FORKPOINT_NO_RUNTIME', "nobody reads requests in #{@directory}: the launcher of this program is gone")
    end

    def read_line(fifo)
      data = +''
      until data.include?("\n")
        chunk = Calls.read(fifo, 65_536)
        return nil if chunk.empty?

        data << chunk
        raise Error.new('ERR_FORKPOINT_PROTOCOL', 'a line without an end') if data.bytesize > LINE_MAX
      end
      line, rest = data.split("\n", 2)
      [line, +rest]
    end

    def available
      loop do
        line, found, rest = @rest.partition("\n")
        unless found.empty?
          @rest = +rest
          return line
        end
        chunk = @listener&.read_nonblock(65_536, exception: false)
        return nil unless chunk.is_a?(String)

        @rest << chunk
      end
    rescue IOError
      # It was closed for somebody else's checkpoint.
      nil
    end

    def parse(line)
      answer = JSON.parse(line)
      return answer if answer.is_a?(Hash) && answer['outcome'].is_a?(String)

      raise Error.new('ERR_FORKPOINT_PROTOCOL', "an outcome without `outcome`: #{line[0, 80]}")
    rescue JSON::ParserError
      raise Error.new('ERR_FORKPOINT_PROTOCOL', "an outcome is not JSON: #{line[0, 80]}")
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
