# frozen_string_literal: true

module Forkpoint
  # Who this run is. image and parent_id are nil in a program that was not restored.
  Context = Struct.new(:id, :image, :parent_id, :generation, :index, :args, :env, :elapsed_ms) do
    def self.of(fields)
      new(
        fields['id'].to_s, fields['image'], fields['parentId'], fields['generation'].to_i, fields['index'],
        Array(fields['args']).freeze, (fields['env'] || {}).freeze, fields['elapsedMs'].to_f
      ).freeze
    end
  end

  # What a checkpoint came to in this process: 'continued' in the original, 'restored' in a clone.
  Outcome = Struct.new(:outcome, :image, :context) do
    def restored?
      outcome == 'restored'
    end
  end
end
