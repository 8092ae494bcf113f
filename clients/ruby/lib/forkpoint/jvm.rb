# frozen_string_literal: true

require 'java'
require_relative 'child'
require_relative 'context'
require_relative 'errors'
require_relative 'hooks'
require_relative 'reseed'

module Forkpoint
  # A child of a JVM, with what Child has.
  class JvmChild < Child
    def initialize(child)
      super(child.index)
      @child = child
      @id = child.id
    end

    def stdin
      @stdin ||= @child.stdin&.to_io
    end

    def stdout
      @stdout ||= @child.stdout&.to_io
    end

    def stderr
      @stderr ||= @child.stderr&.to_io
    end

    def kill(signal = :TERM)
      @child.kill(signal.is_a?(Integer) ? signal : Signal.list.fetch(signal.to_s.delete_prefix('SIG')))
    end

    def poll
      @child.alive? ? nil : status
    end

    def wait(timeout = nil)
      ended = timeout ? @child.waitFor((timeout * 1000).to_i, java.util.concurrent.TimeUnit::MILLISECONDS) : true
      ended ? status : nil
    end

    def send_message(value)
      JvmChannel.new(@child.channel).send_message(value)
    end

    def receive
      JvmChannel.new(@child.channel).receive
    end

    private

    # The JVM tells a signal as 128 and its number, and a program's own code above 128 the same way.
    def status
      code = @child.waitFor
      signal = @child.signal
      signal.zero? ? Status.new(self, code, nil) : Status.new(self, nil, signal)
    end
  end

  # Messages over the Java client's channel.
  class JvmChannel
    def initialize(channel)
      @channel = channel
    end

    def send_message(value)
      @channel.send(Marshal.dump(value).to_java_bytes)
      nil
    rescue java.io.IOException
      raise Error.new('ERR_FORKPOINT_CHANNEL', 'the other end of the channel is closed')
    end

    def receive
      Marshal.load(String.from_java_bytes(@channel.receive))
    rescue java.io.IOException
      raise Error.new('ERR_FORKPOINT_CHANNEL', 'the other end of the channel is closed')
    end

    def close
      @channel.close
    end
  end

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

    # Forks the JVM; children and channels are those of the Java client in Ruby's clothes.
    def fork(options)
      stdio = API::Stdio.value_of(options['stdio'].upcase)
      forked = API.fork(options['count'], stdio)
      return [:child, forked.channel] if forked.isChild

      [:parent, forked.children.map { |child| JvmChild.new(child) }, forked.errors.to_a]
    rescue Java::DevForkpointCrac::CheckpointException => e
      raise translate(CheckpointError, e, 'no child was started')
    rescue Java::DevForkpointCrac::RestoreException => e
      raise translate(RestoreError, e, 'after the fork')
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
