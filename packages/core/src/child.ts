import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';

import { SocketChannel } from './channel.ts';
import { CoreError } from './errors.ts';
import type { Child } from './types.ts';

/** How a child ended. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: string | null;
}

/** The lines of one child, as they come in; its launcher opens all but the channel, which the program opens itself. */
export type LineKind = 'life' | 'stdin' | 'stdout' | 'stderr' | 'channel';

const TEXT_MAX = 65_536;
const STREAMS: readonly LineKind[] = ['stdin', 'stdout', 'stderr'];

/** What kind of child is awaited. */
export interface BirthKind {
  readonly isDetached: boolean;
  /** Whether the program in the child has to come for its channel before it counts as born. */
  readonly needsChannel: boolean;
  /** Whether its standard streams are lines, which have to be there before it counts as born. */
  readonly hasStreams: boolean;
  /** Index of the first child, 0 unless given. */
  readonly first?: number;
}

/** What a child's launcher tells of it. */
interface BirthFacts {
  readonly id: string;
  readonly launcherPid: number;
  readonly addresses: ReadonlyMap<string, string>;
}

/** A child from its first line on: before it has started, while it runs, and after its end. */
export class Birth {
  readonly index: number;
  /** Resolves with the child once it goes on after its `fork`; rejects when it does not come to that. */
  readonly born: Promise<ForkedChild>;
  #settle: { resolve: (child: ForkedChild) => void; reject: (error: Error) => void } | undefined;
  readonly #lines = new Map<LineKind, Socket>();
  readonly #kind: BirthKind;
  #birth: BirthFacts | undefined;
  #text = '';
  #end: ChildEnd | undefined;
  #child: ForkedChild | undefined;

  constructor(index: number, kind: BirthKind) {
    this.index = index;
    this.#kind = kind;
    this.born = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Whoever forks looks at all of them later.
    this.born.catch(() => undefined);
  }

  /** Takes over a line. */
  add(kind: LineKind, socket: Socket): void {
    if (this.#settle === undefined || this.#lines.has(kind)) {
      // One that was given up before it came; a detached child would live on.
      if (kind === 'life') socket.end(`kill ${signalNumber('SIGKILL')}\n`);
      else socket.destroy();
      return;
    }
    this.#lines.set(kind, socket);
    if (kind === 'life') this.#watch(socket);
    this.#bear();
  }

  /** Gives the child up: ends it, with its lines. */
  fail(error: Error): void {
    this.#settle?.reject(error);
    this.#settle = undefined;
    this.#lines.get('life')?.write(`kill ${signalNumber('SIGKILL')}\n`);
    for (const socket of this.#lines.values()) socket.end();
  }

  /** Ends a child that lives already. */
  end(): void {
    this.#child?.kill('SIGKILL');
  }

  #watch(life: Socket): void {
    life.setEncoding('utf8');
    life.on('data', (text: string) => this.#read(text));
    life.on('error', () => undefined);
    life.on('close', () => this.#ended());
  }

  /** `slot ID ADDRESS`, `started ID PID`, `exited CODE SIGNAL`; before the first of these, what its launcher says about a failure. */
  #read(text: string): void {
    this.#text = (this.#text + text).slice(-TEXT_MAX);
    const started = /^started (\w+) (\d+)\n/m.exec(this.#text);
    if (started !== null && this.#birth === undefined) {
      const slots = [...this.#text.matchAll(/^slot (\S+) (.+)$/gm)];
      const addresses = new Map(slots.map(([, slot = '', address = '']) => [slot, address]));
      this.#birth = { id: started[1] ?? '', launcherPid: Number(started[2]), addresses };
      this.#bear();
    }
    const exited = /^exited (\d+) (\d+)\n/m.exec(this.#text);
    if (exited !== null) this.#end = endOf(Number(exited[1]), Number(exited[2]));
  }

  #bear(): void {
    const channel = this.#lines.get('channel') ?? (this.#kind.needsChannel ? undefined : closedSocket());
    const life = this.#lines.get('life');
    // Lines are told apart by what they say first, which may be heard later than what the launcher says.
    if (this.#kind.hasStreams && STREAMS.some((kind) => !this.#lines.has(kind))) return;
    if (
      this.#settle === undefined ||
      channel === undefined ||
      life === undefined ||
      this.#birth === undefined
    )
      return;
    this.#lines.set('channel', channel);
    this.#child = new ForkedChild(this.#birth, this.#lines, this.#kind.isDetached);
    this.#settle.resolve(this.#child);
    this.#settle = undefined;
  }

  #ended(): void {
    const end = this.#end ?? { code: null, signal: 'SIGKILL' };
    this.#child?.ended(end);
    if (this.#settle === undefined) return;
    const how = end.signal === null ? `with code ${end.code}` : `by ${end.signal}`;
    const said = this.#text.replace(/^(slot|started|exited) .*\n/gm, '').trim();
    this.fail(
      new CoreError(
        'ERR_FORKPOINT_CHILD',
        this.#birth === undefined && said !== ''
          ? `child ${this.index} could not be started: ${said.replace(/^Error: /, '')}`
          : `child ${this.index} ended ${how} before it went on`,
      ),
    );
  }
}

/** A living child, as its parent has it. */
export class ForkedChild implements Child {
  readonly id: string;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  /** Its inner launcher, as its outer one sees it. */
  readonly launcherPid: number;
  /** Where it listens on sockets of its own, by slot. */
  readonly addresses: ReadonlyMap<string, string>;
  readonly #channel: SocketChannel;
  readonly #life: Socket;
  readonly #lines: readonly Socket[];
  readonly #exit: Promise<ChildEnd>;
  #tellExit: (end: ChildEnd) => void = () => undefined;
  #end: ChildEnd | undefined;

  constructor(
    { id, launcherPid, addresses }: BirthFacts,
    lines: ReadonlyMap<LineKind, Socket>,
    isDetached: boolean,
  ) {
    this.id = id;
    this.launcherPid = launcherPid;
    this.addresses = addresses;
    this.#lines = [...lines.values()];
    // Both are there: without them a child is not born.
    this.#life = lines.get('life') as Socket;
    this.#channel = new SocketChannel(lines.get('channel') as Socket);
    this.stdin = lines.get('stdin') ?? null;
    this.stdout = lines.get('stdout') ?? null;
    this.stderr = lines.get('stderr') ?? null;
    this.#exit = new Promise((resolve) => {
      this.#tellExit = resolve;
    });
    for (const stream of [this.stdin, this.stdout, this.stderr]) stream?.on('error', () => undefined);
    // A child that outlives its parent does not keep it.
    if (isDetached) for (const socket of this.#lines) socket.unref();
  }

  async send(value: unknown, options?: { transfer?: readonly ArrayBuffer[] }): Promise<void> {
    await this.#channel.send(value, options);
  }

  on(event: 'message' | 'close', listener: (value: unknown) => void): void {
    this.#channel.on(event, listener);
  }

  once(event: 'message' | 'close', listener: (value: unknown) => void): void {
    this.#channel.once(event, listener);
  }

  off(event: 'message' | 'close', listener: (value: unknown) => void): void {
    this.#channel.off(event, listener);
  }

  close(): void {
    this.#channel.close();
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    const number = signalNumber(signal);
    if (this.#end === undefined && !this.#life.destroyed) this.#life.write(`kill ${number}\n`);
  }

  async wait(): Promise<{ code: number | null; signal: string | null }> {
    return { ...(await this.#exit) };
  }

  /** Tells everybody who waits; called by the library. */
  ended(end: ChildEnd): void {
    this.#end ??= end;
    this.#tellExit(this.#end);
  }

  /** In a clone of the parent: the child belongs to the original, and nothing more is heard of it. */
  abandon(): void {
    this.#channel.abandon();
    this.ended({ code: null, signal: null });
    for (const socket of this.#lines) socket.destroy();
  }
}

function closedSocket(): Socket {
  const { Socket: NetSocket } = process.getBuiltinModule('node:net');
  return new NetSocket().destroy();
}

function endOf(code: number, number: number): ChildEnd {
  if (number === 0) return { code, signal: null };
  const { signals } = process.getBuiltinModule('node:os').constants;
  const name = Object.entries(signals).find(([, value]) => value === number)?.[0];
  return { code: null, signal: name ?? `SIG${number}` };
}

function signalNumber(signal: string): number {
  const { signals } = process.getBuiltinModule('node:os').constants;
  const number = new Map<string, number>(Object.entries(signals)).get(signal);
  if (number === undefined) throw new CoreError('ERR_FORKPOINT_OPTIONS', `there is no signal ${signal}`);
  return number;
}
