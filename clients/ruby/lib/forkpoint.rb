# frozen_string_literal: true

require_relative 'forkpoint/errors'
require_relative 'forkpoint/context'
require_relative 'forkpoint/hooks'
require_relative 'forkpoint/reseed'

# Checkpoint, restore and fork of a warm Ruby process, which `forkpoint run -- ruby ...` has started.
#
#   Forkpoint.before_checkpoint { pool.close }
#   Forkpoint.after_restore { |context| pool.open(context.env) }
#   outcome = Forkpoint.checkpoint('./warm')   # returns here, and in every restored process
module Forkpoint
  VERSION = '0.1.0'

  @hooks = Hooks.new
  @children = []

  class << self
    # Whether this process can be checkpointed: whether it runs in a pod.
    def implemented?
      !@member.nil?
    end

    # Takes an image at `to`, or where --to says. Returns in this process and in every restored one; with `stop` this process
    # ends once the image is complete. Raises CheckpointError when no image was made, RestoreError when something failed after.
    def checkpoint(to = nil, stop: false, labels: nil, timeout: nil, link: true, sync: true)
      options = { 'stop' => stop, 'cwd' => Dir.pwd }
      options['to'] = to.to_s if to
      options['labels'] = labels if labels
      options['timeoutMs'] = [1, (timeout * 1000).to_i].max if timeout
      options['link'] = false unless link
      options['sync'] = false unless sync
      answer = member.request(options)
      Outcome.new(answer['outcome'], answer['image'], context)
    end

    # Ends this process once its image is complete, and returns in every restored one.
    def checkpoint_restore(to = nil)
      checkpoint(to, stop: true).context
    end

    # What fork(2) does, with threads, compiled code and all: with a block, the child runs it and ends; without, returns nil in the
    # child. In the parent returns a Child, which stands for the pid. `stdio` is 'inherit', 'pipe' or 'ignore'; children end with
    # their parent unless `detached`.
    def fork(args: [], env: {}, stdio: 'inherit', detached: false, &block)
      role, children = forked(1, args, env, stdio, detached)
      return children[0] if role == :parent

      run_and_exit(&block) if block
    end

    # Starts `count` children at once. Returns the children in the parent, and in each child nil, or runs the block with its index.
    def fork_many(count, args: [], env: {}, stdio: 'inherit', detached: false, &block)
      role, children = forked(count, args, env, stdio, detached)
      return children if role == :parent

      run_and_exit { block.call(context.index) } if block
    end

    # Waits for a child; without one, for any child that was not waited for. Returns a Status; nil when there is no child.
    def wait(child = nil)
      return child.wait.tap { @children.delete(child) } if child

      until @children.empty?
        ended = @children.find(&:poll)
        return wait(ended) if ended

        sleep 0.01
      end
    end

    # In a child: the channel to the parent.
    attr_reader :channel

    # Has a block run before every checkpoint; newest first.
    def before_checkpoint(&block)
      @hooks.add(Hooks::Block.new(block, nil))
    end

    # Has a block run after every checkpoint, in the original and in clones; oldest first.
    def after_restore(&block)
      @hooks.add(Hooks::Block.new(nil, block))
    end

    # Has an object's before_checkpoint and after_restore run. It is held weakly. Returns it.
    def register(resource)
      @hooks.register(resource)
    end

    # Has a generator seeded anew in every clone: a Random, or anything with `reseed(number)`.
    def reseed_on_restore(generator)
      Reseed.register(generator)
    end

    # Who this run is; of a process outside a pod, nobody.
    def context
      @member ? @member.context : Context.of({})
    end

    # What stood behind -- on the restore command.
    def args
      context.args
    end

    # Milliseconds since the last restore; -1 before the first.
    def uptime_since_restore
      @member ? @member.uptime_since_restore : -1
    end

    # Wall clock of the last restore in milliseconds since 1970; -1 before the first.
    def restore_time
      @member ? @member.restore_time : -1
    end

    private

    def forked(count, args, env, stdio, detached)
      options = { 'count' => count, 'stdio' => stdio, 'detached' => detached, 'cwd' => Dir.pwd }
      options['args'] = args.map(&:to_s) unless args.empty?
      options['env'] = env unless env.empty?
      role, children = member.fork(options)
      if role == :child
        @channel = RUBY_ENGINE == 'jruby' ? JvmChannel.new(children) : Channel.new(children)
        @children = []
      else
        @children.concat(children)
      end
      [role, children]
    end

    # A child ends with its block, as with fork(2): at_exit blocks run, and what it raises is told and makes it fail.
    def run_and_exit
      yield
      exit(0)
    end

    def member
      return @member if @member

      raise CheckpointError.new('ERR_FORKPOINT_NO_RUNTIME', why_not)
    end

    def why_not
      # In a pod, JRuby takes part by way of the Java client.
      if RUBY_ENGINE == 'jruby' && !ENV['FORKPOINT_DIR'].to_s.empty?
        return 'this JVM runs without the Java client: start it by `forkpoint run -- jruby ...`, without --no-preload'
      end

      "this process runs outside forkpoint: start it with `forkpoint run -- #{RUBY_ENGINE == 'jruby' ? 'jruby' : 'ruby'} ...`"
    end

    def join
      directory = ENV['FORKPOINT_DIR'].to_s
      return nil if directory.empty?

      if RUBY_ENGINE == 'jruby'
        require_relative 'forkpoint/jvm'
        return Jvm.available? ? Jvm.new(@hooks) : nil
      end
      require_relative 'forkpoint/member'
      Member.new(directory, @hooks).tap(&:join)
    rescue SystemCallError, Error
      # The directory of a pod that is gone, inherited through the environment: the calls say that there is no runtime.
      nil
    end
  end

  @member = join
end
