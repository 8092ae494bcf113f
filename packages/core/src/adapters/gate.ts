/** Work that waits while a checkpoint is prepared; each piece goes on in the async context that it came from. */
export class Gate {
  #isClosed = false;
  #waiting: (() => unknown)[] = [];

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Does the work now, or when the gate opens. */
  pass(work: () => unknown): void {
    if (!this.#isClosed) {
      work();
      return;
    }
    const { AsyncResource } = process.getBuiltinModule('node:async_hooks');
    this.#waiting.push(AsyncResource.bind(work));
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Lets all work go on, in the order in which it came. */
  open(): void {
    this.#isClosed = false;
    for (const work of this.#waiting.splice(0)) work();
  }
}
