// What else could be taken off the path of a restore: the same image with other options of CRIU, and started otherwise, in turn.
// Usage: FORKPOINT_HOME=DIR node bench/tried.mjs [ROUNDS]. The figures are in bench/NOTES.md, "The engine's own path".
import {
  copyFileSync,
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeRestorePlan, encodeRestorePlan } from '@forkpoint/manifest';
import { interleave, pairs, shown, summary, table } from './driver.mjs';
import { criuTime, forkpoint, launch, machine, readFifo, root, run, watch } from './processes.mjs';

const rounds = Number(process.argv[2] ?? 21);
const home = process.env.FORKPOINT_HOME ?? join(homedir(), '.forkpoint');
const scratch = mkdtempSync(join(tmpdir(), 'forkpoint-tried-'));
const fifo = join(scratch, 'fifo');
const env = { ...process.env, BENCH_MB: '50', BENCH_FIFO: fifo };
const launcher = join(home, 'engine/native/current/launcher');

/** Takes the image: a heap of 50 MB. */
function take() {
  const program = join(scratch, 'heap');
  const image = join(scratch, 'image');
  run('cc', ['-O2', '-o', program, join(root, 'bench/programs/heap.c')]);
  const { id } = JSON.parse(run(forkpoint, ['run', '-d', '--json', '--', program], env));
  while (!run(forkpoint, ['logs', id], env).includes('ready'))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  run(forkpoint, ['checkpoint', id, image, '--stop'], env);
  return image;
}

/** An image of the same files, for which CRIU gets more options. */
function withOptions(image, name, options) {
  const copy = join(scratch, name.replaceAll(/\W+/g, '-'));
  mkdirSync(join(copy, 'layers'), { recursive: true, mode: 0o700 });
  for (const file of readdirSync(image))
    if (file === 'layers')
      for (const layer of readdirSync(join(image, file)))
        linkSync(join(image, file, layer), join(copy, file, layer));
    else if (file === 'restore.plan') copyFileSync(join(image, file), join(copy, file));
    else cpSync(join(image, file), join(copy, file), { preserveTimestamps: true });
  const plan = decodeRestorePlan(readFileSync(join(copy, 'restore.plan')));
  writeFileSync(join(copy, 'restore.plan'), encodeRestorePlan({ ...plan, criu: [...plan.criu, ...options] }));
  return copy;
}

/** The processor time of a command with all its children that were waited for. */
const METER = ['bash', '-c', 'TIMEFORMAT="cpu %3U %3S"; time "$@"', 'meter'];

async function timed(start) {
  const known = new Set(readdirSync(join(home, 'runs')));
  const reader = readFifo(fifo);
  const began = performance.now();
  const running = watch(start());
  await Promise.race([reader.first, running.failed]);
  const callbackMs = performance.now() - began;
  running.tell();
  await Promise.race([reader.text(/digest ([0-9a-f]+) (\d+)\n/), running.ended]);
  await running.ended;
  reader.close();
  const [, user, system] = /^cpu ([\d.]+) ([\d.]+)$/m.exec(running.output()) ?? [];
  return { callbackMs, criuMs: criuTime(home, known), cpuMs: (Number(user) + Number(system)) * 1000 };
}

const OPTIONS = {
  'log level 0': ['-v0'],
  'log level 4': ['-v4'],
  'file validation by size': ['--file-validation', 'filesize'],
  'file validation by build id': ['--file-validation', 'buildid'],
  'no check of the processor': ['--cpu-cap=none'],
};

try {
  const image = take();
  // The program looks for the FIFO, so there is none before.
  run('mkfifo', [fifo]);
  const restore = (path) => () => timed(() => launch([...METER, forkpoint, 'restore', path], env));
  const kdat = `/dev/shm/forkpoint-${process.getuid()}/criu.kdat`;
  const variants = {
    'as it is': restore(image),
    ...Object.fromEntries(
      Object.entries(OPTIONS).map(([name, options]) => [name, restore(withOptions(image, name, options))]),
    ),
    'without the shells': () =>
      timed(() => launch([...METER, launcher, 'restore', image], { ...env, FORKPOINT_HOME: home })),
    'without the cache of kernel features': () => {
      rmSync(kdat, { force: true });
      return restore(image)();
    },
  };
  const samples = await interleave(variants, rounds);
  const base = samples['as it is'];
  console.log(`${rounds} rounds; ${machine()}`);
  console.log(
    table([
      ['median (min..max)', 'first callback ms', 'criu ms', 'cpu ms', 'difference of cpu ms'],
      ...Object.entries(samples).map(([name, list]) => [
        name,
        shown(summary(list, 'callbackMs'), 2),
        shown(summary(list, 'criuMs'), 2),
        shown(summary(list, 'cpuMs')),
        shown(
          pairs(list, base, (a, b) => a.cpuMs - b.cpuMs),
          2,
        ),
      ]),
    ]),
  );
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
