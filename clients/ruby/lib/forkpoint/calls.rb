# frozen_string_literal: true

module Forkpoint
  # System calls that keep the interpreter's lock, so that no other Ruby thread runs while this one waits. MRI's own
  # methods let go of it; without fiddle other threads do run.
  module Calls
    EINTR = 4

    class << self
      # Opens a file, however long that takes, and returns the descriptor.
      def open(path, flags)
        return IO.sysopen(path, flags) unless functions

        loop do
          descriptor = functions[:open].call(path, flags | File::Constants::CLOEXEC_FLAG)
          return descriptor if descriptor >= 0

          failed(path)
        end
      end

      def read(descriptor, size)
        return IO.for_fd(descriptor, autoclose: false).sysread(size) unless functions

        buffer = "\0".b * size
        loop do
          count = functions[:read].call(descriptor, buffer, size)
          return buffer[0, count] if count >= 0

          failed(nil)
        end
      rescue EOFError
        ''
      end

      def write(descriptor, data)
        return IO.for_fd(descriptor, autoclose: false).syswrite(data) unless functions

        failed(nil) while functions[:write].call(descriptor, data, data.bytesize).negative?
      end

      def close(descriptor)
        functions ? functions[:close].call(descriptor) : IO.for_fd(descriptor).close
      end

      private

      def functions
        @functions = load_functions unless defined?(@functions)
        @functions
      end

      def load_functions
        require 'fiddle'
        pointer, int, size = Fiddle::TYPE_VOIDP, Fiddle::TYPE_INT, Fiddle::TYPE_SIZE_T
        {
          open: [[pointer, int], int], read: [[int, pointer, size], Fiddle::TYPE_SSIZE_T],
          write: [[int, pointer, size], Fiddle::TYPE_SSIZE_T], close: [[int], int]
        }.to_h do |name, (arguments, result)|
          [name, Fiddle::Function.new(Fiddle::Handle::DEFAULT[name.to_s], arguments, result, need_gvl: true)]
        end
      rescue LoadError, ArgumentError, NameError
        # A Ruby without fiddle, or with one from before need_gvl.
        nil
      end

      def failed(path)
        number = Fiddle.last_error
        raise SystemCallError.new(path, number) unless number == EINTR
      end
    end
  end
end

module File::Constants
  CLOEXEC_FLAG = 0o2000000 unless const_defined?(:CLOEXEC_FLAG)
end
