// What everybody who takes part holds after more and more forks of one program.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse } from './helpers.ts';
import { childrenOf, commandOf, launcherOf } from './pods.ts';

/** What is held after so many forks: descriptors, bytes, files. */
export interface Held {
  readonly forks: number;
  /** The program's own, as it counts it. */
  readonly heap: number;
  readonly fds: number;
  /** Resident memory of the program, and of the two launchers, in kB. */
  readonly programKb: number;
  readonly innerKb: number;
  readonly outerKb: number;
  readonly innerFds: number;
  readonly outerFds: number;
  /** Processes below the launchers, the program among them, without a worker that waits for the next fork. */
  readonly processes: number;
  /** That worker, and its memory; 0 when there is none. */
  readonly worker: number;
  readonly workerKb: number;
  /** Areas of the program's memory. */
  readonly areas: number;
  /** Files and directories in the data directory. */
  readonly files: number;
  /** Bytes of the launcher's log. */
  readonly logBytes: number;
}

/** Longest time for one fork, on a machine that has much else to do. */
const FORK_MS = 20_000;

/** Forks `count` times, and looks each `every` times; waits for `onLook` before it goes on. */
export async function forkMany(
  person: Person,
  [count, every]: readonly [number, number],
  onLook: (held: Held) => void | Promise<void> = () => undefined,
  env: Readonly<Record<string, string>> = {},
): Promise<Held[]> {
  const program = [
    nodeBinary(24),
    '--expose-gc',
    programPath('generations.cjs'),
    String(count),
    String(every),
  ];
  const running = person.forkpoint(['run', '--name', 'many', '--', ...program], {
    timeoutMs: 10_000 + count * FORK_MS,
    env,
  });
  const looks: Held[] = [];
  for (let forks = every; forks <= count; forks += every) {
    const [, text = ''] = await running.output(new RegExp(`^done ${forks} (.*)$`, 'm'), every * FORK_MS);
    const [run] = (await person.json(['ps'])) as { id: string }[];
    const outer = running.child.pid ?? 0;
    const inner = launcherOf(person, run?.id ?? '');
    const below = (): number[] => [...childrenOf(inner), ...childrenOf(outer).filter((pid) => pid !== inner)];
    const helpers = (): number[] => below().filter((pid) => !isWorker(pid));
    const [program_ = 0] = await eventually(
      () => (helpers().length === 1 ? helpers() : undefined),
      'nobody but the program below the launchers',
    );
    const worker = below().find(isWorker) ?? 0;
    const held: Held = {
      forks,
      ...parse<{ heap: number; fds: number }>(text),
      programKb: residentOf(program_),
      innerKb: residentOf(inner),
      outerKb: residentOf(outer),
      // Without its pipes to the worker.
      innerFds: readdirSync(`/proc/${inner}/fd`).length - (worker === 0 ? 0 : 2),
      outerFds: readdirSync(`/proc/${outer}/fd`).length,
      processes: helpers().length,
      worker,
      workerKb: worker === 0 ? 0 : residentOf(worker),
      areas: readFileSync(`/proc/${program_}/maps`, 'utf8').split('\n').length,
      files: readdirSync(person.home, { recursive: true }).length,
      logBytes: readFileSync(join(person.home, 'runs', run?.id ?? '', 'launcher.log')).length,
    };
    looks.push(held);
    await onLook(held);
    running.child.stdin?.write('go\n');
  }
  const { code, stderr } = await running.end();
  if (code !== 0) throw new Error(stderr);
  return looks;
}

function isWorker(pid: number): boolean {
  return commandOf(pid).includes('worker.cjs');
}

function residentOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
}

/** Returns what grows from the first look to the last more than so many forks explain; empty when all is bounded. */
export function growthOf([first, ...rest]: readonly Held[]): string[] {
  const last = rest.at(-1);
  if (first === undefined || last === undefined) return ['looked once only'];
  const mayGrow: Partial<Record<keyof Held, number>> = {
    forks: Infinity,
    // Of a collected heap: compiled code, and what V8 has not given back.
    heap: 4 << 20,
    programKb: 30_000,
    worker: Infinity,
    // Code that was compiled, and what V8 has not given back.
    workerKb: 60_000,
    innerKb: 600,
    outerKb: 600,
    areas: 150,
    logBytes: LOG_MAX,
  };
  return (Object.keys(first) as (keyof Held)[])
    .filter((name) => last[name] - first[name] > (mayGrow[name] ?? 0))
    .map((name) => `${name}: ${first[name]} to ${last[name]}`);
}

/** The launcher cuts its log when it is longer (packages/launcher/worker.c). */
const LOG_MAX = 4 << 20;
