# frozen_string_literal: true

require 'java'
require_relative 'context'
require_relative 'errors'
require_relative 'hooks'
require_relative 'reseed'

module Forkpoint
  # JRuby's process is a member through the Java client, which `forkpoint run -- jruby` adds to the JVM; this hands over to it.
  class Jvm
    API = Java::DevForkpoint::Forkpoint

    # All Ruby hooks as one resource of the JVM.
    class Resource
      include Java::DevForkpointCrac::Resource

      attr_reader :failures

      def initialize(owner, hooks)
        @owner = owner
        @hooks = hooks
        @failures = []
      end

      def before_checkpoint(_context)
        @failures = @hooks.before(@owner.context)
        raise @failures[0] unless @failures.empty?
      end
      alias beforeCheckpoint before_checkpoint

      def after_restore(_context)
        @failures += Reseed.process if @owner.restored? && API.reseeded?
        ENV.update(@owner.context.env)
        more = @hooks.after(@owner.context)
        @failures += more
        raise more[0] unless more.empty?
      end
      alias afterRestore after_restore
    end

    def self.available?
      API.implemented?
    rescue NameError
      # The JVM was started without the Java client.
      false
    end

    def initialize(hooks)
      @generation = API.self.generation
      # The JVM holds resources weakly, this object strongly.
      @resource = Resource.new(self, hooks)
      Java::DevForkpointCrac::Core.global_context.register(@resource)
    end

    def context
      who = API.self
      Context.new(
        who.id, who.image, who.parentId, who.generation, who.index, who.args.to_a.freeze, who.env.to_h.freeze, who.elapsedMs
      ).freeze
    end

    # Whether the JVM has been restored since the last question.
    def restored?
      before = @generation
      @generation = API.self.generation
      before != @generation
    end

    def restore_time
      API.restore_time
    end

    def uptime_since_restore
      API.uptime_since_restore
    end

    def request(options)
      path = options['to'] && java.nio.file.Path.of(File.expand_path(options['to'], options['cwd']))
      return { 'outcome' => 'restored', 'image' => API.checkpoint_restore(path).image } if options['stop']

      outcome = API.checkpoint(path)
      { 'outcome' => outcome.isRestored ? 'restored' : 'continued', 'image' => outcome.image }
    rescue Java::DevForkpointCrac::CheckpointException => e
      raise translate(CheckpointError, e, 'no checkpoint was made')
    rescue Java::DevForkpointCrac::RestoreException => e
      raise translate(RestoreError, e, 'after the checkpoint')
    end

    private

    def translate(kind, exception, what)
      reasons = exception.suppressed.to_a
      nested = reasons.grep(Java::JavaLang::IllegalStateException).any? { |one| one.message.to_s.start_with?('Recursive') }
      own = reasons.grep(Java::DevForkpoint::ForkpointException).first
      code = own ? own.code : (nested ? 'ERR_FORKPOINT_NESTED' : 'ERR_FORKPOINT_HOOK')
      errors = @resource.failures.empty? ? reasons : @resource.failures
      kind.new(code, "#{what}: #{errors.map(&:message).join('; ')}", errors: errors)
    end
  end
end
