import type { ServeWorker } from './serve-config.ts';

/** The debugger's port of a worker. It belongs to the process that it was opened in, and to no clone. */
export class Inspecting {
  #port: number | undefined;

  /** Opens the port on 127.0.0.1, 0 for a free one; returns the address of the debugger, or why there is none. */
  open(port: number): string {
    const inspector = process.getBuiltinModule('node:inspector');
    try {
      if (inspector.url() === undefined) inspector.open(port, '127.0.0.1');
      const url = inspector.url() ?? '';
      this.#port = Number(/:(\d+)\//.exec(url)?.[1] ?? port);
      return url;
    } catch (error) {
      return `it could not be opened: ${String(error)}`;
    }
  }

  /** Before an image is taken. */
  pause(): void {
    if (this.#port !== undefined) process.getBuiltinModule('node:inspector').close();
  }

  /** Afterwards; a clone has no debugger. */
  resume(isClone: boolean): void {
    if (isClone) this.#port = undefined;
    if (this.#port !== undefined) this.open(this.#port);
  }
}

/** The title that `ps` and `top` show, with generation and requests. A title that the program gives itself stays. */
export class ProcessTitle {
  #shown: string | undefined;
  #first: string | undefined;

  /** Shows what is the case. libuv cuts the title to the length of the command line, so that what counts stands first. */
  show({ number, generation, requests }: ServeWorker): void {
    const { title } = process;
    // Cut titles begin as they were given.
    const isOwn = this.#shown !== undefined && this.#shown.startsWith(title);
    if (this.#shown !== undefined && !isOwn) return;
    this.#first ??= title;
    const wanted = `w${number} g${generation} r${requests} ${this.#first}`;
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    process.title = wanted;
  }
}
