# frozen_string_literal: true

# A Sinatra application in Puma at $PORT.
require 'forkpoint'
require 'logger'
require 'puma'
require 'puma/server'
require 'sinatra/base'

class App < Sinatra::Base
  set :environment, :production
  set :logging, false

  get('/') { "answer #{6 * 7}" }
end

server = Puma::Server.new(App, Puma::Events.null, min_threads: 2, max_threads: 4)
server.add_tcp_listener('127.0.0.1', ENV.fetch('PORT').to_i)
server.run.join
