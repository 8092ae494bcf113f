# frozen_string_literal: true

# Forks an interpreter, booted or restored: `fork.rb [IMAGE]`. Prints the milliseconds until the child's block has begun, until the parent
# has its answer, and the longest time that another thread of the parent stood still.
require 'forkpoint'

def clock = Process.clock_gettime(Process::CLOCK_REALTIME, :float_millisecond)

Forkpoint.checkpoint_restore(ARGV[0]) if ARGV[0]
gap = 0.0
measuring = true
ticker =
  Thread.new do
    last = clock
    while measuring
      sleep 0.001
      now = clock
      gap = [gap, now - last].max
      last = now
    end
  end
sleep 0.2
gap = 0.0
began = clock
child = Forkpoint.fork { Forkpoint.channel.send_message(clock) }
answered = clock - began
started = child.receive - began
stall = gap
measuring = false
ticker.join
Forkpoint.wait(child)
puts "started #{started} answered #{answered} stall #{stall}"
$stdout.flush
exit!
