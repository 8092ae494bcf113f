# frozen_string_literal: true

require 'weakref'

module Forkpoint
  # Resources and hooks: before hooks run newest first, after hooks oldest first, all of them, whatever others raise.
  class Hooks
    # A block as a resource.
    class Block
      def initialize(before, after)
        @before = before
        @after = after
      end

      def before_checkpoint(context)
        @before&.call(context)
      end

      def after_restore(context)
        @after&.call(context)
      end
    end

    def initialize
      @lock = Mutex.new
      @entries = []
      @told = []
    end

    # An object is held weakly: who registers it keeps a reference.
    def register(resource)
      @lock.synchronize do
        @entries.select! { |entry| resource_of(entry) }
        @entries << WeakRef.new(resource)
      end
      resource
    end

    def add(block)
      @lock.synchronize { @entries << block }
    end

    def before(context)
      @told = @lock.synchronize { @entries.map { |entry| resource_of(entry) } }.compact.reverse
      call(@told, :before_checkpoint, context)
    end

    def after(context)
      told = @told
      @told = []
      call(told.reverse, :after_restore, context)
    end

    private

    # Returns what the hooks have raised.
    def call(resources, name, context)
      resources.each_with_object([]) do |resource, failures|
        next unless resource.respond_to?(name)

        begin
          resource.public_send(name, *[context].first(resource.method(name).arity.zero? ? 0 : 1))
        rescue StandardError, ScriptError => e
          failures << e
        end
      end
    end

    def resource_of(entry)
      return entry unless entry.is_a?(WeakRef)

      entry.__getobj__ if entry.weakref_alive?
    rescue WeakRef::RefError
      nil
    end
  end
end
