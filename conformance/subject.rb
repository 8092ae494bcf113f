# frozen_string_literal: true

# The subject of the conformance script in Ruby; README.md of this directory says what each scenario has to print.
require 'forkpoint'
require 'securerandom'

$stdout.sync = true
SCENARIO, *WORDS = ARGV
KEPT = []

# In one write: the puts of JRuby makes two, and children share this output.
def say(*parts)
  $stdout.write("#{parts.join(' ')}\n")
end

Hook = Struct.new(:name, :fails, :told) do
  def before_checkpoint
    say 'before', name
    raise "boom #{name}" if fails == :before
  end

  def after_restore
    say 'after', name
    self.told = true
    raise "boom #{name}" if fails == :after
  end
end

def register(*hooks)
  hooks.each { |hook| KEPT << Forkpoint.register(hook) }
end

def attempt
  yield
rescue Forkpoint::Error => e
  say 'failed', e.code, e.message.include?('boom') ? 'boom' : '-'
end

case SCENARIO
when 'hooks'
  register(Hook.new('a'), Hook.new('b'), Hook.new('c'))
  Forkpoint.checkpoint_restore(WORDS[0])
  say 'restored', Forkpoint.args.join(','), ENV['FLAVOUR'] || '-'
when 'before', 'after'
  register(Hook.new('a', SCENARIO.to_sym), Hook.new('b'))
  attempt { Forkpoint.checkpoint(WORDS[0]) }
  say 'alive'
when 'dump'
  register(Hook.new('a'))
  attempt { Forkpoint.checkpoint(WORDS[0]) }
  say 'alive'
  say Forkpoint.checkpoint(WORDS[1]).outcome
when 'nested'
  Forkpoint.before_checkpoint { attempt { Forkpoint.checkpoint(WORDS[0]) } }
  say Forkpoint.checkpoint(WORDS[0]).outcome
when 'chain'
  1.upto(5) do |count|
    context = Forkpoint.checkpoint_restore(WORDS[0])
    say 'generation', context.generation, 'count', count
  end
when 'destinations'
  [*WORDS, nil].each do |to|
    result = Forkpoint.checkpoint(to)
    say result.outcome, result.image
  end
when 'outside'
  register(Hook.new('a'))
  say 'up'
  sleep 0.02 until KEPT[0].told && Forkpoint.args.include?('end')
  say 'end'
when 'unique'
  rand
  SecureRandom.uuid
  Forkpoint.checkpoint_restore(WORDS[0])
  20.times { say 'token', rand }
  say 'strong', SecureRandom.uuid
  say 'strong', SecureRandom.hex(8)
when 'fork'
  register(Hook.new('a'))
  [3, 1].each do |count|
    children = Forkpoint.fork_many(count) do |index|
      say 'child', index, rand
      exit 10 + index
    end
    say 'ended', children.map { |child| Forkpoint.wait(child).exitstatus }.join(',')
  end
when 'alone'
  say 'implemented', Forkpoint.implemented?
  attempt { Forkpoint.checkpoint(WORDS[0]) }
end
