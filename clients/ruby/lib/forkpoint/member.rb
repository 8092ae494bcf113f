# frozen_string_literal: true

require 'monitor'
require_relative 'context'
require_relative 'control'
require_relative 'family'
require_relative 'hooks'
require_relative 'reseed'

module Forkpoint
  # This process as one that takes part in checkpoints: it asks for them, and answers when somebody outside asks.
  class Member
    # Seconds for the worker to look at the program, behind other checkpoints that may still be written.
    PREPARE_LIMIT = 600
    # Seconds for an image to be written, linked and published after the dump.
    PUBLISH_LIMIT = 1800
    # Seconds for the answer to a request that was cancelled here.
    CANCEL_LIMIT = 5

    attr_reader :context, :restore_time

    def initialize(directory, hooks)
      @pid = Process.pid
      @hooks = hooks
      @control = Control.new(directory, @pid)
      @context = Context.of(@control.identity)
      # Held from the first before hook to the last after hook: one checkpoint at a time.
      @round = Monitor.new
      @owner = nil
      @restores = 0
      @restore_time = -1
      @last_ask = nil
    end

    def join
      @control.write_info(info)
      @control.send_request('op' => 'join', 'pid' => @pid)
      at_exit { @control.leave if Process.pid == @pid }
      # A handler may take no lock, a thread may.
      Signal.trap('URG') { Thread.new { asked } }
    end

    def uptime_since_restore
      @restore_time == -1 ? -1 : (clock - @restored_at) * 1000
    end

    # Forks this process, by one dump from which all children start. Returns [:child, channel] or [:parent, children, errors].
    def fork(options)
      name = "fork-#{Random.urandom(6).unpack1('H*')}.sock"
      nursery = nil
      answer = request(options.merge('socket' => name)) do |first|
        nursery = @control.nursery(name, options['count']) if first['outcome'] == 'continued'
      end
      return [:child, Family.reach(@control.directory, answer['fork'])] if answer['outcome'] == 'restored'

      children, errors = nursery.settle
      return [:parent, children, errors] unless children.empty?

      what = errors.length > 1 ? "none of #{errors.length} children started: " : ''
      raise CheckpointError.new('ERR_FORKPOINT_FORK', "#{what}#{errors.map(&:message).first || 'nobody came'}", errors: errors)
    rescue CheckpointError
      nursery&.abort
      raise
    end

    # Asks for a checkpoint; returns the answer. A block is called with the first answer, before the after hooks.
    def request(options, &answered)
      if @owner == Thread.current
        raise CheckpointError.new('ERR_FORKPOINT_NESTED', 'a checkpoint was asked for while the hooks of another one run')
      end

      prepare(options)
      exclusively { conclude(*round(nil, &answered)) }
    rescue CheckpointError, RestoreError
      raise
    rescue Error, SystemCallError => e
      code = e.is_a?(Error) ? e.code : 'ERR_FORKPOINT_FAILED'
      raise CheckpointError.new(code, "no checkpoint was made: #{e.message}", errors: [e])
    end

    private

    def exclusively
      @round.synchronize do
        @owner = Thread.current
        yield
      ensure
        @owner = nil
      end
    end

    # Lets the worker look at the program while it runs; raises what it found.
    def prepare(options)
      sent_at = -1
      loop do
        # A checkpoint asked for from outside comes first, and needs the FIFO.
        exclusively do
          @control.await_fifo
          @control.listen
          if sent_at != @restores
            @control.send_request({ 'op' => 'prepare', 'pid' => @pid }.merge(options))
            sent_at = @restores
          end
        end
        answer = @control.next_answer(PREPARE_LIMIT)
        next unless answer

        @control.stop_listening
        return if answer['outcome'] == 'prepared'

        raise failure(answer, [])
      end
    end

    # Before hooks, the checkpoint itself, after hooks. Returns the answer and what failed after it.
    def round(ask)
      failures = @hooks.before(@context)
      answer = nil
      errors = []
      if failures.empty?
        code = 'ERR_FORKPOINT_FAILED'
        begin
          answer = freeze_program(ask)
          wake(answer, errors) if answer['outcome'] == 'restored'
          yield answer if block_given?
        rescue Error, SystemCallError => e
          failures << e
          code = e.code if e.is_a?(Error)
        end
      else
        code = 'ERR_FORKPOINT_HOOK'
        cancel(ask, failures)
      end
      errors.concat(@hooks.after(@context))
      return [answer, errors] if answer

      drop_answer
      all = failures + errors
      raise CheckpointError.new(code, "no checkpoint was made: #{describe(all)}", errors: all)
    end

    def freeze_program(ask)
      @control.await_fifo
      @control.stop_listening
      if ask && @control.ask['ask'].to_s != ask
        raise Error.new('ERR_FORKPOINT_TIMEOUT', 'the before hooks ended after the time limit of the checkpoint')
      end

      # What is buffered would be written by the original and by every clone.
      [$stdout, $stderr].each { |stream| stream.flush if stream.respond_to?(:flush) }
      @control.write_info(info)
      @control.send_request({ 'op' => 'ready', 'pid' => @pid }.merge(ask ? { 'ask' => ask } : {}))
      answer = @control.block_for_answer
      @reseed_failures = answer['outcome'] == 'restored' && answer['reseed'] != false ? Reseed.process : []
      is_parked = answer['outcome'] == 'restored' && (answer['fork'] || {})['parked'] == true
      is_parked ? @control.block_for_assignment(answer) : answer
    end

    def wake(answer, errors)
      Family.abandon
      @context = Context.of(answer)
      @restore_time = (Time.now.to_f * 1000).round
      @restored_at = clock
      @restores += 1
      @last_ask = nil
      errors.concat(@reseed_failures)
      [
        -> { ENV.update(@context.env) },
        -> { Dir.chdir(answer['cwd']) if answer['cwd'] },
        -> { @control.write_info(info) },
      ].each do |step|
        step.call
      rescue SystemCallError => e
        errors << e
      end
    end

    def conclude(first, errors)
      answer = first
      if first['pending'] == true
        answer = @control.next_answer(PUBLISH_LIMIT) || first
        @control.stop_listening
      end
      raise failure(answer, errors) if %w[failed prepared].include?(answer['outcome'])
      unless errors.empty?
        raise RestoreError.new('ERR_FORKPOINT_HOOK', "after the checkpoint: #{describe(errors)}", errors: errors)
      end

      first.merge(answer).merge('outcome' => first['outcome'])
    end

    def asked
      ask = @control.ask
      name = ask['ask'].to_s
      # SIGURG may come for another reason, and more than once for the same checkpoint.
      return unless Array(ask['pids']).include?(@pid)

      exclusively do
        next if name == @last_ask

        @last_ask = name
        answer, errors = round(name)
        errors.each { |error| warn error.full_message }
        @control.next_answer(PUBLISH_LIMIT) if answer['pending'] == true
        @control.stop_listening
      end
    rescue CheckpointError
      # Who asked has been told; the program did not ask and goes on.
    rescue StandardError => e
      warn e.full_message
    end

    def cancel(ask, failures)
      message = failures.map(&:message).join('; ')[0, 1000]
      @control.listen unless ask
      @control.send_request({ 'op' => 'cancel', 'pid' => @pid, 'message' => message }.merge(ask ? { 'ask' => ask } : {}))
    rescue Error, SystemCallError => e
      # The caller is about to report what went wrong first; the worker's time limit ends the checkpoint.
      warn e.full_message
    end

    # The `failed` that a cancelled request is answered with must not meet a later one.
    def drop_answer
      @control.next_answer(CANCEL_LIMIT)
    rescue Error
      # Nothing came, and the reason of the cancellation matters more.
    ensure
      @control.stop_listening
    end

    def failure(answer, errors)
      unless answer['outcome'] == 'failed'
        message = "the launcher answered #{answer['outcome']} where that has no meaning"
        return CheckpointError.new('ERR_FORKPOINT_PROTOCOL', message, errors: errors)
      end
      resources = Array(answer['resources'])
      missing = resources.map { |one| one['what'].to_s }.reject { |what| answer['message'].to_s.include?(what) }
      message = [answer['message'] || 'the checkpoint failed', *missing.map { |what| "  #{what}" }].join("\n")
      CheckpointError.new(
        answer['code'] || 'ERR_FORKPOINT_FAILED', message, errors: errors, resources: resources, hint: answer['hint']
      )
    end

    def describe(errors)
      errors.length == 1 ? errors[0].message : "#{errors[0].message}, and #{errors.length - 1} more failures"
    end

    def info
      { 'v' => 1, 'pid' => @pid, 'runtime' => { 'name' => 'ruby', 'version' => RUBY_VERSION }, 'hooks' => true }
    end

    def clock
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
