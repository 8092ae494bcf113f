# frozen_string_literal: true

module Forkpoint
  # An error with a code that all clients of forkpoint share, such as ERR_FORKPOINT_NO_RUNTIME.
  class Error < StandardError
    # The code; every exception caught on the way; what stands in the way of a checkpoint, as hashes.
    attr_reader :code, :errors, :resources

    def initialize(code, message, errors: [], resources: [], hint: nil)
      super(hint ? "#{message}\nHint: #{hint}" : message)
      @code = code
      @errors = errors
      @resources = resources
    end
  end

  # No image was made: the program goes on, and all after hooks have run.
  class CheckpointError < Error; end

  # The image was made or restored, and something failed afterwards.
  class RestoreError < Error; end
end
