/** What a program has asked of its environment while it was warmed. */
export interface EnvironmentUse {
  /** Names of the variables that were asked for. */
  readonly names: string[];
  /** Whether all of it was copied, with its values, in the first run only: what was loaded then keeps the copy. */
  readonly isCopied: boolean;
  /** Variables that were set in the first run and not again in later ones: what was loaded has set them. */
  readonly set: Record<string, string>;
}

/** Names beyond this length do not exist. */
const NAME_MAX = 256;

/** Notes which variables are read, from the first module on to the last run. */
export class EnvironmentWatch {
  readonly #own = process.env;
  readonly #names = new Set<string>();
  readonly #first: Record<string, string | undefined>;
  #copies = 0;
  #copiesByRun: number[] = [];
  #setByRun: Record<string, string>[] = [];

  constructor() {
    this.#first = { ...this.#own };
    const note = this.#noter();
    process.env = new Proxy(this.#own, {
      get: (own, name) => {
        note(name);
        return Reflect.get(own, name);
      },
      has: (own, name) => {
        note(name);
        return Reflect.has(own, name);
      },
      // The real environment takes text only, in the form of a plain assignment.
      set: (own, name, value) => Reflect.set(own, name, value),
      getOwnPropertyDescriptor: (own, name) => {
        note(name, false);
        return Reflect.getOwnPropertyDescriptor(own, name);
      },
      ownKeys: (own) => {
        note.begin();
        return Reflect.ownKeys(own);
      },
    });
  }

  /**
   * A copy of everything asks for every name in the order of the keys, and tells nothing about any of them; that the values were
   * taken is counted. Who only lists the names asks for descriptors.
   */
  #noter(): ((name: string | symbol, isValue?: boolean) => void) & { begin(): void } {
    let copied: readonly (string | symbol)[] = [];
    let described = 0;
    let taken = 0;
    const names = this.#names;
    const note = (name: string | symbol, isValue = true): void => {
      if (!isValue && name === copied[described]) {
        described++;
      } else if (isValue && name === copied[taken]) {
        if (++taken === copied.length) this.#copies++;
      } else if (typeof name === 'string' && name.length <= NAME_MAX) {
        names.add(name);
      }
    };
    return Object.assign(note, {
      begin: () => {
        copied = Reflect.ownKeys(this.#own);
        described = 0;
        taken = 0;
      },
    });
  }

  /** Notes the end of a run, and puts the environment back to what it was before. */
  endRun(): void {
    this.#copiesByRun.push(this.#copies);
    this.#copies = 0;
    const changed = Object.entries(this.#own).filter(([name, value]) => this.#first[name] !== value);
    this.#setByRun.push(Object.fromEntries(changed) as Record<string, string>);
    this.replace(this.#first);
  }

  /** Returns what was noted. */
  use(): EnvironmentUse {
    const [first = {}] = this.#setByRun;
    const last = this.#setByRun.at(-1) ?? {};
    return {
      names: [...this.#names].filter((name) => !name.startsWith('FORKPOINT_')),
      isCopied: (this.#copiesByRun[0] ?? 0) > (this.#copiesByRun.at(-1) ?? 0),
      set: Object.fromEntries(Object.entries(first).filter(([name]) => last[name] === undefined)),
    };
  }

  /** Gives the program exactly these variables. */
  replace(wanted: Readonly<Record<string, string | undefined>>): void {
    for (const name of Object.keys(this.#own)) if (wanted[name] === undefined) delete this.#own[name];
    for (const [name, value] of Object.entries(wanted))
      if (value !== undefined && this.#own[name] !== value) this.#own[name] = value;
  }

  /** Reads are no longer noted. */
  end(): void {
    process.env = this.#own;
  }
}
