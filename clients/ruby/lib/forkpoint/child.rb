# frozen_string_literal: true

require_relative 'errors'

module Forkpoint
  # How a child ended; answers what Process::Status does.
  Status = Struct.new(:pid, :exitstatus, :termsig) do
    def exited?
      termsig.nil?
    end

    def signaled?
      !termsig.nil?
    end

    def success?
      exited? ? exitstatus.zero? : nil
    end

    def to_i
      exited? ? exitstatus << 8 : termsig
    end
  end

  # A living child, as its parent has it. It stands where fork(2) has a pid.
  class Child
    TEXT_MAX = 65_536

    # index: its number in its fork; id: of its run; stdin, stdout, stderr: sockets, with stdio: 'pipe'.
    attr_reader :index, :id

    def initialize(index)
      @index = index
      @lines = {}
      @text = +''
      @lock = Mutex.new
    end

    %w[stdin stdout stderr].each { |name| define_method(name) { @lines[name] } }

    # Sends a signal, by number or name; does nothing when the child has ended.
    def kill(signal = :TERM)
      number = signal.is_a?(Integer) ? signal : Signal.list.fetch(signal.to_s.delete_prefix('SIG'))
      @lines['life']&.write("kill #{number}\n")
    rescue SystemCallError, IOError
      # It has ended.
    end

    # The status, or nil while the child lives.
    def poll
      read
      @status
    end

    # Waits for the end; nil when `timeout` seconds have passed.
    def wait(timeout = nil)
      deadline = timeout && (now + timeout)
      until poll
        left = deadline && (deadline - now)
        return nil if left && left <= 0

        @lines['life'].wait_readable(left)
      end
      @status
    end

    # Sends any value that Marshal takes to the child.
    def send_message(value)
      Channel.new(@lines['channel']).send_message(value)
    end

    # The next value from the child.
    def receive
      Channel.new(@lines['channel']).receive
    end

    def inspect
      "#<Forkpoint::Child #{index} #{id}>"
    end

    # --- how it comes to live ---

    def add(kind, line)
      @lines.key?(kind) ? line.close : @lines[kind] = line
    end

    # One that has ended already has lived.
    def born?
      read
      !@id.nil? && (@lines.key?('channel') || !@status.nil?)
    end

    # Why it did not come to live; nil while it still may.
    def failure
      return nil if @status.nil? || born?

      said = @text.lines.reject { |line| line.start_with?('started ', 'exited ') }.join.strip
      Error.new('ERR_FORKPOINT_CHILD', "child #{index} could not be started: #{said.empty? ? 'it was killed' : said}")
    end

    private

    # Reads `started RUN PID`, `exited CODE SIGNAL`, and the words of a failure, as far as they have come.
    def read
      @lock.synchronize do
        life = @lines['life']
        while life && @status.nil?
          chunk = read_some(life)
          break if chunk == :wait_readable

          @text = (@text + chunk.to_s)[-TEXT_MAX..] || (@text + chunk.to_s)
          take_lines
          # The launcher of the child was killed, and the child with it.
          @status ||= Status.new(self, nil, Signal.list['KILL']) if chunk.nil?
        end
      end
    end

    def read_some(life)
      life.read_nonblock(4096, exception: false)
    rescue SystemCallError, IOError
      nil
    end

    def take_lines
      @text.lines.each do |line|
        case line
        when /\Astarted (\w+) \d+\n/ then @id = Regexp.last_match(1)
        when /\Aexited (\d+) (\d+)\n/
          code, signal = Regexp.last_match(1).to_i, Regexp.last_match(2).to_i
          @status ||= signal.zero? ? Status.new(self, code, nil) : Status.new(self, nil, signal)
        end
      end
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end

  # Messages between a parent and a child: any value that Marshal takes, in order.
  class Channel
    MESSAGE_MAX = 1 << 30

    def initialize(line)
      @line = line
    end

    def send_message(value)
      data = Marshal.dump(value)
      raise closed unless @line

      @line.write([data.bytesize].pack('V') + data)
      nil
    rescue SystemCallError, IOError
      raise closed
    end

    def receive
      length = exactly(4).unpack1('V')
      raise Error.new('ERR_FORKPOINT_CHANNEL', "a message of #{length} bytes") if length > MESSAGE_MAX

      Marshal.load(exactly(length))
    end

    def close
      @line&.close
      @line = nil
    end

    private

    def exactly(count)
      data = @line&.read(count)
      raise closed if data.nil? || data.bytesize < count

      data
    rescue SystemCallError, IOError
      raise closed
    end

    def closed
      Error.new('ERR_FORKPOINT_CHANNEL', 'the other end of the channel is closed')
    end
  end
end
