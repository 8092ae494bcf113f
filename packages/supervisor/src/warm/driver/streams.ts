import * as nodeModule from 'node:module';
import { Readable, Writable } from 'node:stream';
import tty from 'node:tty';

/** Which standard streams count as terminals. */
export type Terminals = readonly [stdin: boolean, stdout: boolean, stderr: boolean];

const NAMES = ['stdin', 'stdout', 'stderr'] as const;
type Name = (typeof NAMES)[number];

/** What a stream that is made for a terminal can do beyond others (tty.WriteStream). */
const TERMINAL_METHODS = [
  'getColorDepth',
  'hasColors',
  'getWindowSize',
  'cursorTo',
  'moveCursor',
  'clearLine',
  'clearScreenDown',
];

/**
 * The standard streams while a program is warmed: nothing is read, what is written goes nowhere, and each says of itself
 * whether it is a terminal. Node makes the real ones when they are first asked for, which is after the restore: they then fit
 * what is there. Whoever has kept one of these reaches the real one through it.
 */
export class StandIns {
  readonly #own = new Map<Name, PropertyDescriptor>();
  readonly #console = new Map<string, PropertyDescriptor>();
  readonly #isatty = tty.isatty;
  #isActive = true;

  /** `terminals` is what the programs of this image will see. */
  constructor(terminals: Terminals) {
    for (const [fd, name] of NAMES.entries()) {
      const own = Object.getOwnPropertyDescriptor(process, name);
      if (own === undefined) continue;
      this.#own.set(name, own);
      const make = (): object =>
        fd === 0 ? silentInput(terminals[0]) : silentOutput(fd, terminals[fd] === true);
      let silent = make();
      const seen = forwarding(() => {
        if (!this.#isActive) return process[name];
        // A program may end its stream; the next one gets another.
        if ((silent as { destroyed?: boolean }).destroyed === true) silent = make();
        return silent;
      });
      Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => seen });
    }
    for (const name of ['stdout', 'stderr'] as const) {
      const key = `_${name}`;
      const own = Object.getOwnPropertyDescriptor(console, key);
      if (own?.configurable !== true) continue;
      this.#console.set(key, own);
      // The console keeps the first stream that it gets.
      Object.defineProperty(console, key, {
        configurable: true,
        enumerable: false,
        get: () => process[name],
      });
    }
    const { isatty } = tty;
    tty.isatty = (fd) =>
      this.#isActive && Number.isInteger(fd) && fd >= 0 && fd < 3 ? terminals[fd] === true : isatty(fd);
    nodeModule.syncBuiltinESMExports();
  }

  /** Puts Node's own streams in their places. */
  end(): void {
    this.#isActive = false;
    for (const [name, own] of this.#own) Object.defineProperty(process, name, own);
    for (const [key, own] of this.#console) Object.defineProperty(console, key, own);
    tty.isatty = this.#isatty;
    nodeModule.syncBuiltinESMExports();
  }
}

function silentInput(isTerminal: boolean): Readable {
  const stream = new Readable({ read() {} });
  stream.push(null);
  const more = isTerminal ? { isTTY: true, isRaw: false, setRawMode: () => stream } : {};
  return Object.assign(stream, { fd: 0 }, more);
}

function silentOutput(fd: number, isTerminal: boolean): Writable {
  const stream = new Writable({ decodeStrings: false, write: (_chunk, _encoding, done) => done() });
  Object.assign(stream, { fd, _type: isTerminal ? 'tty' : 'pipe' });
  if (!isTerminal) return stream;
  for (const name of TERMINAL_METHODS) {
    const value: unknown = Reflect.get(tty.WriteStream.prototype, name);
    Object.defineProperty(stream, name, { value, configurable: true, writable: true });
  }
  return Object.assign(stream, { isTTY: true, columns: 80, rows: 24 });
}

/** Returns an object that is always the one that `current` returns. */
function forwarding(current: () => object): object {
  const bound = new WeakMap<object, { readonly of: object; readonly value: unknown }>();
  return new Proxy(
    {},
    {
      get(_, key) {
        const target = current();
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function' || key === 'constructor') return value;
        const known = bound.get(value);
        if (known?.of === target) return known.value;
        const method: unknown = value.bind(target);
        bound.set(value, { of: target, value: method });
        return method;
      },
      set: (_, key, value) => {
        const target = current();
        return Reflect.set(target, key, value, target);
      },
      has: (_, key) => Reflect.has(current(), key),
      deleteProperty: (_, key) => Reflect.deleteProperty(current(), key),
      ownKeys: () => Reflect.ownKeys(current()),
      getPrototypeOf: () => Reflect.getPrototypeOf(current()),
      defineProperty: (_, key, how) => Reflect.defineProperty(current(), key, { ...how, configurable: true }),
      getOwnPropertyDescriptor: (_, key) => {
        const own = Reflect.getOwnPropertyDescriptor(current(), key);
        // A proxy may report only what its own target could have.
        return own === undefined ? undefined : { ...own, configurable: true };
      },
    },
  );
}
