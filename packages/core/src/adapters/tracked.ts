const FIRST_SWEEP = 64;

/** Objects that are remembered for as long as somebody else holds them. */
export class Tracked<T extends object> {
  #known = new WeakSet<T>();
  #refs: WeakRef<T>[] = [];
  #sweepAt = FIRST_SWEEP;

  /** Remembers an object, once. */
  add(object: T): void {
    if (this.#known.has(object)) return;
    this.#known.add(object);
    this.#refs.push(new WeakRef(object));
    if (this.#refs.length < this.#sweepAt) return;
    this.#refs = this.#refs.filter((ref) => ref.deref() !== undefined);
    this.#sweepAt = Math.max(FIRST_SWEEP, 2 * this.#refs.length);
  }

  /** Forgets an object. */
  delete(object: T): void {
    if (!this.#known.delete(object)) return;
    this.#refs = this.#refs.filter((ref) => ref.deref() !== object);
  }

  /** Returns those that live. */
  all(): T[] {
    return this.#refs.flatMap((ref) => ref.deref() ?? []);
  }
}
