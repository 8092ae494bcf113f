# frozen_string_literal: true

# A Sinatra application in Puma, booted once and warmed, then forked as workers. fork(2) leaves threads behind, so that Puma's cluster
# mode boots a server in every worker; these copies have all threads, compiled code and caches of the warm one, and its socket.
#
#   forkpoint run -- ruby examples/warm_puma.rb 3
#
# The argument is the number of workers. TERM ends them all.
require 'forkpoint'
require 'logger'
require 'net/http'
require 'puma'
require 'puma/server'
require 'sinatra/base'

WARM_UP_REQUESTS = 100

# What is worth warming: templates, routes, connections.
class App < Sinatra::Base
  set :environment, :production
  set :logging, false

  get '/' do
    seen = (self.class.seen += 1)
    "worker #{Forkpoint.context.index || 'none'} request #{seen} token #{rand}\n"
  end

  class << self
    attr_accessor :seen
  end
  self.seen = 0
end

server = Puma::Server.new(App, Puma::Events.null, min_threads: 2, max_threads: 4)
port = server.add_tcp_listener('127.0.0.1', ENV.fetch('PORT', '0').to_i).local_address.ip_port
serving = server.run
WARM_UP_REQUESTS.times { Net::HTTP.get('127.0.0.1', '/', port) }

# The parent is the one that nobody talks to: it only keeps the workers.
workers = Forkpoint.fork_many(Integer(ARGV.fetch(0, '2')))
if workers.nil?
  # A copy of the thread that waits; Puma's own threads serve already.
  Signal.trap('TERM') { server.stop }
  serving.join
  exit
end
server.stop(true)
stopping = false
Signal.trap('TERM') { stopping = true }
puts "#{workers.length} warm workers listen at http://127.0.0.1:#{port}"
$stdout.flush
sleep 0.05 until stopping || workers.any?(&:poll)
workers.each { |worker| worker.kill(:TERM) }
codes = workers.map { |worker| Forkpoint.wait(worker).exitstatus }
puts "ended #{codes.join(' ')}"
