/** Commands that the server answers when something happens. */
const BLOCKING = new Set(
  'blpop brpop brpoplpush blmove blmpop bzpopmin bzpopmax bzmpop wait waitaof monitor'.split(' '),
);
const BLOCKING_WITH_OPTION = new Set(['xread', 'xreadgroup']);

/** Returns whether a command waits at the server, so that a checkpoint need not wait for it. */
export function isBlocking(name: string, args: readonly unknown[]): boolean {
  const command = name.toLowerCase();
  if (BLOCKING.has(command)) return true;
  return BLOCKING_WITH_OPTION.has(command) && args.some((one) => String(one).toUpperCase() === 'BLOCK');
}

/** Connections that are in a transaction or watch keys: what another connection of a clone would know nothing of. */
export class Watching {
  readonly #connections = new WeakSet();

  has(connection: object): boolean {
    return this.#connections.has(connection);
  }

  /** Notes that a command is sent. */
  note(connection: object, name: string): void {
    const command = name.toLowerCase();
    if (command === 'multi' || command === 'watch') this.#connections.add(connection);
    if (command === 'exec' || command === 'discard' || command === 'unwatch')
      this.#connections.delete(connection);
  }
}
