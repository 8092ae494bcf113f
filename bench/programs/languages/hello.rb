# frozen_string_literal: true

# Runs the Ruby text given to the restore, in an interpreter that was booted before and has evaluated one. `warm` runs some first and checkpoints again.
require 'forkpoint'

eval("puts 'boots ' + (6 * 7).to_s")

Forkpoint.checkpoint_restore(ARGV[0])
if Forkpoint.args[0] == 'warm'
  300.times { |i| eval("text = 'hello ' + (6 * #{i}).to_s; text.upcase") }
  Forkpoint.checkpoint_restore
end
eval(Forkpoint.args[0])
exit
