import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { messageOf, startLoad } from './client.ts';
import type { Connection, Family, Place, Target } from './family.ts';
import { freePort } from './servers.ts';

const START_MS = 60_000;
const PROBE_MS = 20_000;
const CLIENTS = 4;
const MIN_ANSWERS = 20;

/** Where a family is tried. */
export interface Surroundings {
  readonly apps: string;
  readonly modules: string;
  /** The Node.js binary. */
  readonly node: string;
  readonly urls: Readonly<Record<string, string>>;
  /** Where the logs of a family that fails are kept. */
  readonly keep: string;
}

/** What came out. Times in milliseconds. */
export interface Result {
  /** `refused`: a checkpoint was refused with a reason, and the program went on. `failed`: anything else. */
  readonly status: 'works' | 'refused' | 'failed';
  /** The exact words of what went wrong. */
  readonly text: string;
  readonly figures: Figures;
  /** What is worth knowing although it works. */
  readonly notes: readonly string[];
}

/** Measured on the way; absent when the family did not get there. */
export interface Figures {
  startMs?: number;
  checkpointMs?: number;
  restoreMs?: number;
  imageBytes?: number;
  requests?: number;
}

/** A checkpoint that did not come about. */
class RefusedError extends Error {}

interface Started {
  readonly id: string;
  readonly slots: readonly { readonly id: string; readonly address: string }[];
}

/** Takes one family through all steps, as an ordinary user; never rejects. All its processes have ended afterwards. */
export async function drive(family: Family, around: Surroundings): Promise<Result> {
  const person = createPerson();
  const trial = new Trial(family, around, person);
  try {
    await trial.all();
    return { status: 'works', text: '', figures: trial.figures, notes: trial.notes };
  } catch (error) {
    keepLogs(person, around.keep);
    const status = error instanceof RefusedError ? 'refused' : 'failed';
    return { status, text: `${trial.step}: ${messageOf(error)}`, figures: trial.figures, notes: trial.notes };
  } finally {
    trial.close();
    await person.leave();
  }
}

/** One family on its way. */
class Trial {
  readonly figures: Figures = {};
  readonly notes: string[] = [];
  /** What is being done, for messages. */
  step = 'start';
  readonly #family: Family;
  readonly #around: Surroundings;
  readonly #person: Person;
  readonly #seen = new Set<string>();
  readonly #connections: Connection[] = [];
  readonly #agent = new Agent({ keepAlive: true });

  constructor(family: Family, around: Surroundings, person: Person) {
    this.#family = family;
    this.#around = around;
    this.#person = person;
  }

  async all(): Promise<void> {
    const { id, original } = await this.#start();
    this.step = 'checkpoint under load';
    const image = await this.#checkpointUnderLoad(id, original);
    this.step = 'two restores at once';
    const began = performance.now();
    const clones = await Promise.all([
      this.#restore(image, original, 'clone 1'),
      this.#restore(image, original, 'clone 2'),
    ]);
    this.figures.restoreMs = performance.now() - began;
    this.step = 'probe of the clones';
    for (const { target } of clones) await this.#visit(target);
    await this.#visit(original);
    for (const { target } of clones) await this.#visit(target);
    this.step = 'second checkpoint';
    const [first] = clones;
    const second = await this.#checkpoint(first?.id ?? '', 'second');
    this.step = 'second restore';
    const again = await this.#restore(second, first?.target ?? original, 'clone of clone 1');
    for (const target of [again.target, first?.target ?? original, original]) await this.#visit(target);
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
    this.#agent.destroy();
  }

  async #start(): Promise<{ id: string; original: Target }> {
    const data = join(this.#person.scratch, 'data');
    const made = await this.#person.start(['mkdir', data]).end();
    if (made.code !== 0) throw new Error(`mkdir ${data}: ${made.stderr}`);
    const { apps, modules, urls, node } = this.#around;
    const place: Place = { apps, modules, urls, data, port: await freePort() };
    this.#family.prepare?.(place);
    await this.#person.start(['true']).end();
    const env = {
      ...urls,
      DATA: data,
      PORT: String(place.port),
      HOST: '127.0.0.1',
      NODE_ENV: 'production',
      NEXT_TELEMETRY_DISABLED: '1',
    };
    const cwd = this.#family.cwd?.(place) ?? apps;
    const began = performance.now();
    const command = [node, ...this.#family.argv(place)];
    const run = (await this.#person.json(['run', '-d', '--cwd', cwd, '--', ...command], { env })) as Started;
    const original = this.#target(run.id, place.port, 'original', data);
    await this.#patiently(original, START_MS, false);
    this.figures.startMs = performance.now() - began;
    await this.#visit(original);
    return { id: run.id, original };
  }

  #target(id: string, port: number, label: string, data: string): Target {
    return {
      label,
      port,
      data,
      output: join(this.#person.home, 'runs', id, 'log'),
      modules: this.#around.modules,
    };
  }

  async #checkpointUnderLoad(id: string, original: Target): Promise<string> {
    const { connect, load } = this.#family;
    if (connect !== undefined)
      for (let i = 0; i < CLIENTS; i++) this.#connections.push(await connect(original));
    const check = async (): Promise<void> => {
      for (const connection of this.#connections) await connection.check();
    };
    const once = async (): Promise<void> => await load?.(original);
    const stop = load === undefined ? undefined : startLoad(CLIENTS, once);
    let image: string;
    try {
      await check();
      image = await this.#checkpoint(id, 'first');
      await check();
    } catch (error) {
      await stop?.();
      throw error;
    }
    const seen = await stop?.();
    if (seen === undefined) return image;
    this.figures.requests = seen.answers;
    if (seen.errors.length > 0)
      throw new Error(`${seen.errors.length} requests failed in the original: ${seen.errors[0]}`);
    if (seen.answers < MIN_ANSWERS) throw new Error(`only ${seen.answers} requests were answered meanwhile`);
    return image;
  }

  async #checkpoint(id: string, name: string): Promise<string> {
    const image = join(this.#person.scratch, name);
    const began = performance.now();
    const { code, stdout, stderr } = await this.#person.finish(['checkpoint', '--json', id, image]);
    if (code !== 0) throw new RefusedError((stderr || stdout).trim());
    this.figures.checkpointMs ??= performance.now() - began;
    this.figures.imageBytes ??= bytesOf(image);
    return image;
  }

  async #restore(image: string, from: Target, label: string): Promise<{ id: string; target: Target }> {
    const manifest = (await this.#person.json(['inspect', image])) as {
      slots: { id: string; kind: string; port?: number }[];
    };
    const slots = manifest.slots.filter(({ kind }) => kind === 'tcp');
    const listen = slots.flatMap((slot) => ['--listen', `${slot.id}=127.0.0.1:0`]);
    const run = (await this.#person.json(['restore', image, '-d', ...listen])) as Started;
    const main = slots.find((slot) => slot.id === `tcp-${from.port}` || slot.port === from.port) ?? slots[0];
    const address = run.slots.find((slot) => slot.id === main?.id)?.address ?? '';
    const port = Number(address.slice(address.lastIndexOf(':') + 1));
    // The slot keeps the name of the port that the first program asked for.
    return { id: run.id, target: { ...this.#target(run.id, port, label, from.data) } };
  }

  /** Probes an instance and draws from it; every value must be new. */
  async #visit(target: Target): Promise<void> {
    await this.#patiently(target, PROBE_MS, true);
    const { randoms } = this.#family;
    for (let i = 0; i < 2 && randoms !== undefined; i++) {
      for (const value of await randoms(target)) {
        if (this.#seen.has(value))
          throw new Error(`the random value ${value} of ${target.label} appeared before`);
        this.#seen.add(value);
      }
    }
  }

  /** Probes until the answers are right; what went wrong first is noted unless the program is only starting. */
  async #patiently(target: Target, limitMs: number, isNoted: boolean): Promise<void> {
    const deadline = performance.now() + limitMs;
    for (let tries = 1; ; tries++) {
      try {
        await this.#family.probe(target);
        return;
      } catch (error) {
        if (tries === 1 && isNoted) this.notes.push(`first probe of ${target.label}: ${messageOf(error)}`);
        if (performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
}

/** Keeps what a family's runs left behind: their logs and those of CRIU. */
function keepLogs(person: Person, keep: string): void {
  rmSync(keep, { recursive: true, force: true });
  mkdirSync(keep, { recursive: true });
  const runs = join(person.home, 'runs');
  if (!existsSync(runs)) return;
  cpSync(runs, keep, {
    recursive: true,
    filter: (path) => statSync(path, { throwIfNoEntry: false })?.isFIFO() !== true && !path.endsWith('/ctl'),
  });
}

/** Disk space of a directory. */
function bytesOf(directory: string): number {
  let bytes = 0;
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    bytes += statSync(join(directory, name)).blocks * 512;
  }
  return bytes;
}
