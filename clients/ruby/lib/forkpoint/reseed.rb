# frozen_string_literal: true

require 'weakref'

module Forkpoint
  # New randomness for a clone; docs/clones-ruby.md says what is covered and what is not.
  module Reseed
    # Seeds that Ruby draws itself have 128 bits; those that people write down are shorter.
    SHORTEST_OWN_SEED = 96

    @registered = []

    class << self
      def register(generator)
        @registered.select!(&:weakref_alive?)
        @registered << WeakRef.new(generator)
        generator
      end

      # Renews everything that can be reached; returns what failed.
      def process
        [method(:default), method(:instances), method(:openssl), method(:registered)].each_with_object([]) do |step, failures|
          step.call
        rescue StandardError => e
          failures << e
        end
      end

      private

      def seed
        Random.urandom(16).unpack1('H*').to_i(16)
      end

      def default
        Kernel.srand(seed)
      end

      # A generator that was made without a seed starts over with another one; also the one of temporary names.
      def instances
        return if RUBY_ENGINE == 'jruby'

        ObjectSpace.each_object(Random) do |random|
          random.send(:initialize, seed) if random.seed.bit_length > SHORTEST_OWN_SEED
        end
      end

      def openssl
        OpenSSL::Random.seed(Random.urandom(64)) if defined?(OpenSSL::Random)
      end

      def registered
        @registered.each do |reference|
          next unless reference.weakref_alive?

          generator = reference.__getobj__
          generator.is_a?(Random) ? generator.send(:initialize, seed) : generator.reseed(seed)
        end
      end
    end
  end
end
