# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = 'forkpoint'
  spec.version = '0.1.0'
  spec.summary = 'Checkpoint, restore and fork of a warm Ruby process on Linux: MRI and JRuby, no root, no patched runtime'
  spec.authors = ['The forkpoint authors']
  spec.license = 'Apache-2.0'
  spec.required_ruby_version = '>= 2.6'
  spec.files = Dir['lib/**/*.rb']
end
