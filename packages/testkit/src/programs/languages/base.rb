# frozen_string_literal: true

# A vendor's Ruby: `base.rb IMAGE [SCRIPT WORD...]`. It loads the script that it is given, becomes an image, and loads what a restore gives;
# that image then goes where the restore says.
require 'forkpoint'

image, *words = ARGV
loop do
  script, *$words = words
  load script if script
  Forkpoint.checkpoint_restore(image)
  image = nil
  words = Forkpoint.args
end
