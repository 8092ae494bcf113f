// An engine of a person's own, in which an operation on the store of CRIU, of the worker or of a launcher fails or is held, as it is
// ordered (packages/testkit/src/programs/c/faults.c).
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { nodeBinary, programPath, root } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';

export const CALLERS = ['criu', 'worker', 'launcher'] as const;
export type Caller = (typeof CALLERS)[number];

/** For a launcher, on a machine with much else to do. */
const COMPILE_MS = 240_000;
const WALK_MS = 3_600_000;

export class FaultyEngine {
  readonly #person: Person;
  readonly #directory: string;
  readonly #control: string;
  readonly #log: string;
  #sequence = 0;

  /** Replaces the engine of the person. */
  constructor(person: Person) {
    this.#person = person;
    this.#directory = join(person.scratch, 'walk');
    this.#control = join(this.#directory, 'control');
    this.#log = join(person.scratch, 'struck');
    mkdirSync(this.#directory, { recursive: true });
    this.#makeEngine();
    execFileSync('chmod', ['-R', 'a+rX', this.#directory]);
  }

  /** Whether somebody is held or has met the fault. */
  get isStruck(): boolean {
    return existsSync(this.#log);
  }

  /** Which operation it is, as the one who has met it wrote. */
  get what(): string {
    return readFileSync(this.#log, 'utf8').trim();
  }

  /** Has the next of these callers meet a fault, or be held, at its operation number `at`. */
  order(caller: Caller, kind: 'halt' | 'space' | 'io' | 'files', at: number): void {
    this.#write(`${++this.#sequence} ${caller} ${kind} ${at} ${this.#person.home} ${this.#log}\n`);
  }

  /** Lets go who is held; nobody else meets anything. */
  release(): void {
    rmSync(this.#log, { force: true });
  }

  /** Takes the order back. */
  clear(): void {
    this.#write('');
  }

  /** Starts the command. */
  forkpoint(...words: string[]): Running {
    const running = this.#person.forkpoint(words, {
      // One that runs a program is there for as long as its walk.
      timeoutMs: WALK_MS,
      // Operations are counted from the start of a worker: each request has one of its own.
      env: { FORKPOINT_NODE: nodeBinary(24), FORKPOINT_SPARE_MS: '0' },
    });
    running.child.stdin?.end();
    return running;
  }

  #write(text: string): void {
    writeFileSync(`${this.#control}.new`, text);
    chmodSync(`${this.#control}.new`, 0o644);
    renameSync(`${this.#control}.new`, this.#control);
  }

  /** An engine in which CRIU and the worker are started with the faults, and the launcher is built with them. */
  #makeEngine(): void {
    const lent = realpathSync(join(this.#person.home, 'engine'));
    const engine = join(this.#directory, 'engine');
    const native = join(engine, 'native');
    mkdirSync(native, { recursive: true });
    for (const name of readdirSync(lent).filter((one) => !['engine.plan', 'native'].includes(one)))
      symlinkSync(join(lent, name), join(engine, name));
    for (const name of readdirSync(realpathSync(join(lent, 'native/current'))).filter(
      (one) => one !== 'launcher',
    ))
      symlinkSync(join(lent, 'native/current', name), join(native, name));
    symlinkSync('.', join(native, 'current'));
    const plan = readFileSync(join(lent, 'engine.plan'), 'latin1');
    writeFileSync(join(engine, 'engine.plan'), withPreload(plan, this.#compile('criu')), 'latin1');
    const sources = readdirSync(join(root, 'packages/launcher')).filter((name) => name.endsWith('.c'));
    const files = sources.map((name) => join(root, 'packages/launcher', name));
    const worker = `-DFAULT_WORKER="${this.#compile('worker')}"`;
    const words = ['-O0', worker, '-o', join(native, 'launcher'), ...files, this.#source('launcher'), '-ldl'];
    execFileSync('cc', words, { timeout: COMPILE_MS });
    rmSync(join(this.#person.home, 'engine'));
    symlinkSync(engine, join(this.#person.home, 'engine'));
  }

  #source(role: string): string {
    const file = join(this.#directory, `faults-${role}.c`);
    const include = programPath('c/faults.c');
    const text = `#define FAULT_ROLE "${role}"\n#define FAULT_CONTROL "${this.#control}"\n#include "${include}"\n`;
    writeFileSync(file, text);
    return file;
  }

  #compile(role: string): string {
    const file = join(this.#directory, `faults-${role}.so`);
    execFileSync('cc', ['-O1', '-shared', '-fPIC', '-o', file, this.#source(role), '-ldl'], {
      timeout: COMPILE_MS,
    });
    return file;
  }
}

/** The engine's plan, with a library that is loaded before all others: by CRIU's own loader, or by that of the machine. */
function withPreload(plan: string, library: string): string {
  const words = plan.split('\0');
  const result: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    const [, key = '', count = '0'] = /^(criu|quick):(\d+)$/.exec(word) ?? [];
    if (key === '') {
      result.push(word);
      continue;
    }
    const [first = '', ...rest] = words.slice(at + 1, at + 1 + Number(count));
    const own = first.includes('ld-linux')
      ? [first, '--preload', library]
      : ['/usr/bin/env', `LD_PRELOAD=${library}`, first];
    result.push(`${key}:${own.length + rest.length}`, ...own, ...rest);
    at += Number(count);
  }
  return result.join('\0');
}
