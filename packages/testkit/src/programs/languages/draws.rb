# frozen_string_literal: true

# Prints one number of every generator in a clone; docs/clones-ruby.md says which of them differ.
require 'forkpoint'
require 'openssl'
require 'securerandom'
require 'tempfile'

unseeded = Random.new
seeded = Random.new(5)
registered = Forkpoint.reseed_on_restore(Random.new(5))
rand
SecureRandom.hex
OpenSSL::Random.random_bytes(8) unless RUBY_ENGINE == 'jruby'
Dir::Tmpname.create('a') { |path| path }
Forkpoint.checkpoint_restore(ARGV[0])
puts "rand #{rand}"
puts "shuffle #{(1..60).to_a.shuffle.join('-')}"
puts "securerandom #{SecureRandom.hex(8)}"
puts "registered #{registered.rand}"
puts "tmpname #{Dir::Tmpname.create('a') { |path| path }}"
unless RUBY_ENGINE == 'jruby'
  puts "unseeded #{unseeded.rand}"
  puts "openssl #{OpenSSL::Random.random_bytes(8).unpack1('H*')}"
end
puts "seeded #{seeded.rand}"
puts "hash #{'a text'.hash}"
