# frozen_string_literal: true

require_relative '../forkpoint'

# `require 'forkpoint/kernel'` puts Forkpoint.fork in the place of fork: on JRuby, which has none, and on MRI, whose own one loses
# threads. Process.wait, wait2, detach and kill take what it returns.
module Forkpoint
  module KernelFork
    def fork(&block)
      Forkpoint.implemented? ? Forkpoint.fork(&block) : super
    end
  end

  module ProcessFork
    def fork(&block)
      Forkpoint.implemented? ? Forkpoint.fork(&block) : super
    end

    def wait(child = -1, *flags)
      return super unless child.is_a?(Child)

      Forkpoint.wait(child)
      child
    end

    def wait2(child = -1, *flags)
      child.is_a?(Child) ? [child, Forkpoint.wait(child)] : super
    end

    def waitpid(child = -1, *flags)
      child.is_a?(Child) ? wait(child, *flags) : super
    end

    def detach(child)
      child.is_a?(Child) ? Thread.new { Forkpoint.wait(child) } : super
    end

    def kill(signal, *children)
      ours, others = children.partition { |child| child.is_a?(Child) }
      ours.each { |child| child.kill(signal) }
      ours.length + (others.empty? ? 0 : super(signal, *others))
    end
  end

  ::Kernel.prepend(KernelFork)
  ::Object.prepend(KernelFork)
  ::Process.singleton_class.prepend(ProcessFork)
end
