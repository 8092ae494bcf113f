type Listener = (...args: unknown[]) => void;

/**
 * What a run leaves in the process, to be put back before the next: listeners of `process`, exit code, working directory.
 * Listeners that only the first run has added belong to what was loaded then, and stay.
 */
export class Baseline {
  readonly #before = listeners();
  /** Texts of the listeners that each run has added. */
  readonly #added: Map<string, Set<string>>[] = [];
  readonly #kept = new Map<string | symbol, Listener[]>();

  /** Ends a run. */
  endRun(): void {
    const added = new Map<string, Set<string>>();
    for (const [event, now] of listeners()) {
      const extra = now.filter((listener) => !(this.#before.get(event) ?? []).includes(listener));
      if (extra.length === 0) continue;
      added.set(String(event), new Set(extra.map(String)));
      if (this.#added.length === 0) this.#kept.set(event, extra);
      for (const listener of extra) remove(event, listener);
    }
    this.#added.push(added);
    process.exitCode = undefined;
  }

  /** Puts back what belongs to the modules that stay loaded; returns how many listeners that were. */
  settle(): number {
    let count = 0;
    for (const [event, kept] of this.#kept) {
      const again = this.#added.at(-1)?.get(String(event));
      for (const listener of kept) {
        if (this.#added.length > 1 && again?.has(String(listener)) === true) continue;
        if (this.#added.length === 1) continue;
        process.on(event as 'exit', listener);
        count++;
      }
    }
    return count;
  }
}

function listeners(): Map<string | symbol, Listener[]> {
  return new Map(
    process.eventNames().map((event) => [event, process.rawListeners(event as 'exit') as Listener[]]),
  );
}

function remove(event: string | symbol, listener: Listener): void {
  process.removeListener(event, listener);
}
