// Programs with large heaps, restored by plain CRIU and by forkpoint from linked images: time to the first callback, what
// a restore reads, areas. Every restored program walks its heap and must come to the same digest.
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { interleave } from './driver.mjs';
import { criuTime, forkpoint, launch, mapped, readFifo, run, sizeOf, watch } from './processes.mjs';
import { prepareStock } from './stock.mjs';

/** A program of two gigabytes takes a while to build its heap, and its images to be written. */
const LIMIT_MS = 180_000;
// What a command and all its children read with read(2) and its kin: the kernel adds up the counts of those that were
// waited for (kernel/exit.c, wait_task_zombie). Page faults of mapped files are not in it.
const METER =
  'TIMEFORMAT="cpu %3U %3S"; time "$@"; { read -r stat < /proc/self/stat; read -r io < /proc/self/io; echo "stat $stat"; echo "$io"; } >&2';

/**
 * Measures restores of programs. A case is a program: `argv`, `env`, `flags` of its restore, and `stock: false` where the
 * comparison with plain CRIU is not wanted.
 * @param {{ home: string, scratch: string, rounds: number, progress: (text: string) => void,
 *   cases: Record<string, { argv: string[], env?: object, flags?: string[], stock?: boolean }> }} options
 */
export async function measureHeaps({ home, scratch, rounds, cases, progress }) {
  const bench = { home, fifo: join(scratch, 'first') };
  const heaps = {};
  try {
    for (const [name, wanted] of Object.entries(cases)) {
      progress(`${name}: starting the program and taking the images`);
      const directory = join(scratch, name.replaceAll(/\W+/g, '-'));
      heaps[name] = { directory };
      heaps[name] = await takeImages({ ...bench, ...wanted, directory });
    }
    const variants = Object.assign(
      {},
      ...Object.entries(heaps).map(([name, heap]) => variantsOf(bench, name, heap)),
    );
    const times = await interleave(
      mapped(variants, (variant) => () => timed(bench, variant)),
      rounds,
      progress,
    );
    progress('what the restores read');
    const costs = {};
    for (const [name, variant] of Object.entries(variants)) costs[name] = await metered(bench, variant);
    return {
      rounds,
      times,
      costs,
      heaps: mapped(heaps, ({ digest, bytes, pages, checkpointMs }) => ({
        digest,
        bytes,
        pages,
        checkpointMs,
      })),
    };
  } finally {
    for (const { directory } of Object.values(heaps)) rmSync(directory, { recursive: true, force: true });
  }
}

/** Starts the program in a pod and takes a linked image, and one as CRIU writes it. */
async function takeImages({ home, fifo, directory, argv, env, flags = [], stock = true }) {
  mkdirSync(directory);
  const environment = {
    ...process.env,
    FORKPOINT_HOME: home,
    FORKPOINT_NODE: process.execPath,
    BENCH_FIFO: fifo,
    ...env,
  };
  const name = `bench-${process.pid}-${directory.split('/').at(-1)}`;
  const child = launch([forkpoint, 'run', '--name', name, '--', ...argv], environment);
  const running = watch(child, undefined, LIMIT_MS);
  const [, digest] = await Promise.race([running.matches(/ready ([0-9a-f]+)\n/), running.failed]);
  const images = { linked: join(directory, 'linked') };
  const checkpoint = (...args) => {
    const began = performance.now();
    run(forkpoint, ['checkpoint', name, ...args], environment, LIMIT_MS);
    return performance.now() - began;
  };
  if (stock) {
    images.plain = join(directory, 'plain');
    checkpoint(images.plain, '--no-link');
  }
  running.tell();
  const checkpointMs = checkpoint(images.linked, '--stop');
  await running.ended;
  const [bytes, pages] = [mapped(images, sizeOf), pagesOf(images.linked)];
  return { directory, images, digest, flags, env: environment, checkpointMs, bytes, pages };
}

/** Bytes of the dumped pages, and of those that linking has written once more because they are copied at a restore. */
function pagesOf(image) {
  const sum = (directory, pattern) =>
    readdirSync(directory)
      .filter((name) => pattern.test(name))
      .reduce((total, name) => total + statSync(join(directory, name)).size, 0);
  return { dumped: sum(join(image, 'layers'), /\.pages$/), copied: sum(image, /^pages-\d+\.img$/) };
}

/** Each returns `{ start(prefix), after() }`: what is prepared beforehand, the start, and what is read afterwards. */
function variantsOf({ home }, name, { images, digest, flags, env }) {
  const linked = () => {
    const before = new Set(readdirSync(join(home, 'runs')));
    return {
      digest,
      start: (prefix) => launch([...prefix, forkpoint, 'restore', images.linked, ...flags], env),
      after: () => ({ criuMs: criuTime(home, before) }),
    };
  };
  const stock = async () => {
    const prepared = await prepareStock({ home, image: images.plain });
    return { digest, start: prepared.start, after: () => prepared.remove() ?? {}, why: prepared.log };
  };
  return {
    ...(images.plain === undefined ? {} : { [`${name}, stock`]: stock }),
    [`${name}, linked`]: linked,
  };
}

/** One restore with a stopwatch: milliseconds to the first callback, CRIU's own, and the areas of the restored program. */
async function timed(bench, variant) {
  return await restored(bench, variant, [], (began) => ({ callbackMs: performance.now() - began }));
}

/** One restore with a meter: processor time, page faults, bytes read. */
async function metered(bench, variant) {
  let output = '';
  const { areas } = await restored(bench, variant, ['bash', '-c', METER, 'meter'], undefined, (text) => {
    output = text;
  });
  const [, user, system] = /^cpu ([\d.]+) ([\d.]+)$/m.exec(output) ?? [];
  const fields = /^stat .*\) (.*)$/m.exec(output)?.[1].split(' ') ?? [];
  return {
    areas,
    cpuMs: (Number(user) + Number(system)) * 1000,
    faults: Number(fields[8]),
    rchar: Number(/^rchar: (\d+)$/m.exec(output)?.[1]),
  };
}

async function restored({ fifo }, variant, prefix, atFirst = () => ({}), atEnd = () => undefined) {
  const prepared = await variant();
  run('mkfifo', [fifo]);
  const reader = readFifo(fifo);
  try {
    const began = performance.now();
    const running = watch(prepared.start(prefix), prepared.why);
    await Promise.race([reader.first, running.failed]);
    const sample = atFirst(began);
    running.tell();
    const [, digest, areas] = await Promise.race([
      reader.text(/digest ([0-9a-f]+) (\d+)\n/),
      running.ended.then(() => [null, 'none: it ended']),
    ]);
    if (digest !== prepared.digest)
      throw new Error(
        `the digest of the restored heap is ${digest} and not ${prepared.digest}: ${running.output()}`,
      );
    await running.ended;
    atEnd(running.output());
    return { ...sample, areas: Number(areas), ...prepared.after() };
  } finally {
    reader.close();
    rmSync(fifo, { force: true });
  }
}
