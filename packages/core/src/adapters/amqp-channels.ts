/** The answer to a call on a channel: an error, or the frame. */
export type Reply = (
  error: unknown,
  frame?: { readonly id: number; readonly fields: Readonly<Record<string, unknown>> },
) => void;

/** What is used of a channel (lib/channel.js of amqplib 0.10 and 2). */
export interface Channel {
  readonly connection: object;
  readonly reply: unknown;
  readonly pending: readonly unknown[] | null;
  /** Callbacks of messages that are not confirmed, from number `lwm` on; null for those that are. */
  readonly unconfirmed: readonly unknown[];
  lwm: number;
  allocate(): unknown;
  _rpc(method: number, fields: object, expected: number, done: Reply): void;
}

/** Methods of AMQP 0-9-1 by number: the class, and in the lower half the method. */
export const METHODS = {
  channelOpen: (20 << 16) | 10,
  channelOpenOk: (20 << 16) | 11,
  qos: (60 << 16) | 10,
  qosOk: (60 << 16) | 11,
  consume: (60 << 16) | 20,
  consumeOk: (60 << 16) | 21,
  cancel: (60 << 16) | 30,
  get: (60 << 16) | 70,
  getOk: (60 << 16) | 71,
  ack: (60 << 16) | 80,
  reject: (60 << 16) | 90,
  recover: (60 << 16) | 110,
  nack: (60 << 16) | 120,
  confirmSelect: (85 << 16) | 10,
  confirmSelectOk: (85 << 16) | 11,
} as const;

/** What has to be known of a channel to open it again, and what is under way on it. */
interface State {
  isRestoring: boolean;
  /** Messages that the program has got and not acknowledged, by number. */
  readonly unacknowledged: Set<number>;
  readonly consumers: Map<string, object>;
  /** Prefetch for each consumer, and for the channel. */
  readonly prefetch: Map<boolean, object>;
  confirms: boolean;
  /** Messages that wait to be sent. */
  heldMessages: number;
  /** Messages that wait to be given to the program. */
  deliveries: (() => unknown)[];
}

/** The channels of amqplib. */
export class AmqpChannels {
  readonly #states = new WeakMap<object, State>();

  /** Returns what is known of a channel. */
  of(channel: object): State {
    let state = this.#states.get(channel);
    if (state === undefined) {
      state = {
        isRestoring: false,
        unacknowledged: new Set(),
        consumers: new Map(),
        prefetch: new Map(),
        confirms: false,
        heldMessages: 0,
        deliveries: [],
      };
      this.#states.set(channel, state);
    }
    return state;
  }

  /** Returns a reply that notes what was agreed upon. */
  noting(channel: object, method: number, fields: object, reply: Reply): Reply {
    const state = this.of(channel);
    const text = (from: object, name: string): string => String(Reflect.get(from, name));
    return (error, frame) => {
      if (error === null && frame !== undefined) {
        if (method === METHODS.consume) {
          const consumerTag = text(frame.fields, 'consumerTag');
          state.consumers.set(consumerTag, { ...fields, consumerTag });
        } else if (method === METHODS.cancel) state.consumers.delete(text(fields, 'consumerTag'));
        else if (method === METHODS.qos) state.prefetch.set(Reflect.get(fields, 'global') === true, fields);
        else if (method === METHODS.confirmSelect) state.confirms = true;
        else if (method === METHODS.recover) state.unacknowledged.clear();
        else if (frame.id === METHODS.getOk && Reflect.get(fields, 'noAck') !== true)
          state.unacknowledged.add(Number(frame.fields['deliveryTag']));
      }
      reply(error, frame);
    };
  }

  /** Notes acknowledgements. */
  sent(channel: object, method: number, fields: object): void {
    if (method !== METHODS.ack && method !== METHODS.nack && method !== METHODS.reject) return;
    const { unacknowledged } = this.of(channel);
    const upTo = Number(Reflect.get(fields, 'deliveryTag'));
    if (Reflect.get(fields, 'multiple') !== true) unacknowledged.delete(upTo);
    else for (const one of unacknowledged) if (upTo === 0 || one <= upTo) unacknowledged.delete(one);
  }

  /** Notes that the program gets a message; null when its consumer was cancelled by the server. */
  delivered(channel: object, fields: object, message: unknown): void {
    const { consumers, unacknowledged } = this.of(channel);
    const tag = String(Reflect.get(fields, 'consumerTag'));
    if (message === null) consumers.delete(tag);
    else if (Reflect.get(consumers.get(tag) ?? {}, 'noAck') !== true)
      unacknowledged.add(Number(Reflect.get(fields, 'deliveryTag')));
  }

  /** Gives the program what has come meanwhile. */
  deliver(channel: object): void {
    for (const deliver of this.of(channel).deliveries.splice(0)) deliver();
  }

  /** Returns how much is under way. */
  underWay(channel: Channel): { calls: number; confirmations: number; acknowledgements: number } {
    const { heldMessages, unacknowledged } = this.of(channel);
    const unconfirmed = channel.unconfirmed.filter((one) => one !== null).length;
    return {
      calls: (channel.reply === null ? 0 : 1) + (channel.pending?.length ?? 0),
      // The library expects the confirmation of a held message already.
      confirmations: Math.max(0, unconfirmed - heldMessages),
      acknowledgements: unacknowledged.size,
    };
  }

  /** In a clone: a number on the new connection, and nothing of what the original has got. */
  renew(channel: Channel): void {
    const state = this.of(channel);
    state.deliveries = [];
    state.unacknowledged.clear();
    channel.lwm = 1;
    channel.allocate();
  }

  /** Opens a channel on the new connection, as it was. A server that refuses something closes the channel, and the library tells. */
  restore(channel: Channel): void {
    const state = this.of(channel);
    const call = (method: number, fields: object, expected: number): void =>
      channel._rpc(method, fields, expected, () => undefined);
    state.isRestoring = true;
    try {
      call(METHODS.channelOpen, { outOfBand: '' }, METHODS.channelOpenOk);
      if (state.confirms) call(METHODS.confirmSelect, { nowait: false }, METHODS.confirmSelectOk);
      for (const fields of state.prefetch.values()) call(METHODS.qos, fields, METHODS.qosOk);
      for (const fields of state.consumers.values()) call(METHODS.consume, fields, METHODS.consumeOk);
    } finally {
      state.isRestoring = false;
    }
  }
}
