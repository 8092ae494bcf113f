// The store: what compression of a warm Express server costs and saves, end to end; what the second restore of the compressed image
// takes beside that of the raw one; what holding equal files once saves; and listings of a thousand images.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { interleave, pairs, shown, summary, table } from './driver.mjs';
import { ask, forkpoint, freePort, machine, root, run } from './processes.mjs';

/** Megabytes on the heap, requests of warm-up, rounds, pairs of restores, images that are listed. */
const SIZES = {
  smoke: { heapMb: 0, requests: 60, rounds: 1, restores: 1, images: 30 },
  quick: { heapMb: 60, requests: 2000, rounds: 3, restores: 5, images: 1000 },
  full: { heapMb: 60, requests: 2000, rounds: 7, restores: 15, images: 1000 },
};
const VERBS = { ls: ['ls'], tree: ['tree'], 'gc --dry-run': ['gc', '--dry-run'], 'ls, first time': ['ls'] };

/**
 * Runs the benchmark in a data directory in which set-up has been done.
 * @param {{ home: string, size?: 'smoke' | 'quick' | 'full', progress?: (text: string) => void }} options
 */
export async function benchStore({ home, size = 'quick', progress = () => undefined }) {
  const wanted = SIZES[size];
  const scratch = mkdtempSync(join(home, 'bench-'));
  // A data directory of its own: what is counted is all there is.
  const own = join(scratch, 'home');
  mkdirSync(own, { mode: 0o700 });
  symlinkSync(join(home, 'engine'), join(own, 'engine'));
  const port = await freePort();
  const env = {
    ...process.env,
    FORKPOINT_HOME: own,
    FORKPOINT_NODE: process.execPath,
    PORT: String(port),
    NO_COLOR: '1',
  };
  const bench = { scratch, own, port, env, progress, ...wanted };
  try {
    await takeImages(bench);
    const compression = await compareCodec(bench);
    const restores = await compareRestores(bench);
    const duplicates = shareEqual(bench);
    const listings = await listMany(bench);
    return { ...wanted, compression, restores, duplicates, listings, machine: machine() };
  } finally {
    for (const { id } of JSON.parse(run(forkpoint, ['ps', '--json'], env)))
      spawnSync(forkpoint, ['kill', id, '--signal', 'KILL'], { env });
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Warms the server up and takes an image, and one of a restored copy, which shares what did not change. */
async function takeImages({ port, env, heapMb, requests, progress }) {
  progress('warming up');
  const program = join(root, 'bench/programs/express-server.cjs');
  const given = { ...env, BENCH_MB: String(heapMb) };
  run(forkpoint, ['run', '-d', '--name', 'express', '--', process.execPath, program], given);
  await answered(port, '/');
  for (let i = 0; i < requests; i++) await ask(port, i % 2 === 0 ? '/' : `/product/${i % 5000}`);
  run(forkpoint, ['checkpoint', 'express', 'raw', '--stop'], env);
  run(forkpoint, ['restore', 'raw', '-d', '--name', 'next'], env);
  await answered(port, '/');
  run(forkpoint, ['checkpoint', 'next', 'child', '--stop'], env);
}

/** Compresses and decompresses by the library, as the command line does. Bytes per second of memory, everything included. */
async function compareCodec({ own, rounds, progress }) {
  const { compress, decompress, openImage } = await import('../packages/forkpoint/dist/host.mjs');
  const image = join(own, 'images/packed');
  cpSync(join(own, 'images/raw'), image, { recursive: true });
  const samples = [];
  const timed = async (work) => {
    const cpu = process.cpuUsage();
    const began = performance.now();
    const result = await work(image, { home: own, sync: false });
    const ms = performance.now() - began;
    const { user, system } = process.cpuUsage(cpu);
    return { ...result, ms, cpuMs: (user + system) / 1000 };
  };
  for (let round = rounds > 2 ? -1 : 0; round < rounds; round++) {
    progress(`compressing, round ${round + 1} of ${rounds}`);
    const packed = await timed(compress);
    const plain = await timed(decompress);
    const { rawBytes, storedBytes } = packed;
    const sample = {
      rawBytes,
      storedBytes,
      inMs: packed.ms,
      outMs: plain.ms,
      inCpuMs: packed.cpuMs,
      outCpuMs: plain.cpuMs,
    };
    if (round >= 0) samples.push(sample);
  }
  await compress(image, { home: own, sync: false });
  const { manifest } = await openImage(image, { home: own });
  if (manifest.layers.some(({ compression }) => compression === null))
    throw new Error('the image is not compressed');
  return samples;
}

async function compareRestores({ env, port, restores, progress }) {
  const restore = (image) => async () => {
    const began = performance.now();
    const id = run(forkpoint, ['restore', image, '-d'], env).trim();
    const restored = performance.now() - began;
    await answered(port, '/product/7');
    const answer = performance.now() - began;
    run(forkpoint, ['kill', id, '--signal', 'KILL'], env);
    spawnSync(forkpoint, ['wait', id], { env });
    return { restored, answer };
  };
  // The first one unpacks.
  return await interleave({ raw: restore('raw'), compressed: restore('packed') }, restores, (text) =>
    progress(`restores, ${text}`),
  );
}

/** Compresses two images that share page files, which then are there twice, and holds them once again. */
function shareEqual({ env, progress }) {
  progress('sharing equal files');
  const bytes = () => JSON.parse(run(forkpoint, ['du', '--json', 'raw', 'child'], env)).totalBytes;
  const shared = bytes();
  run(forkpoint, ['compress', 'raw', '--no-sync'], env);
  run(forkpoint, ['compress', 'child', '--no-sync'], env);
  const twice = bytes();
  run(forkpoint, ['gc', '--dedup'], env);
  return { shared, twice, once: bytes() };
}

/** A store of many images: one real image by hard links, each with an id and a parent of its own. */
async function listMany({ own, scratch, env, images, rounds, progress }) {
  progress(`making ${images} images`);
  const home = join(scratch, 'many');
  mkdirSync(join(home, 'images'), { recursive: true, mode: 0o700 });
  symlinkSync(join(own, 'engine'), join(home, 'engine'));
  const from = join(own, 'images/raw');
  const manifest = JSON.parse(readFileSync(join(from, 'manifest.json'), 'utf8'));
  const plan = readFileSync(join(from, 'restore.plan'), 'latin1');
  const idOf = (number) => number.toString(16).padStart(12, '0');
  for (let number = 0; number < images; number++) {
    const to = join(home, 'images', `image-${number}`);
    mkdirSync(join(to, 'layers'), { recursive: true, mode: 0o700 });
    for (const part of ['', 'layers'])
      for (const entry of readdirSync(join(from, part), { withFileTypes: true }))
        if (entry.isFile() && !/^(manifest|digests)\.json$|^restore\.plan$/.test(entry.name))
          linkSync(join(from, part, entry.name), join(to, part, entry.name));
    const parentId = number % 10 === 0 ? null : idOf(number - 1);
    writeFileSync(
      join(to, 'manifest.json'),
      JSON.stringify({ ...manifest, id: idOf(number), parentId, generation: number % 10 }),
    );
    writeFileSync(join(to, 'restore.plan'), plan.replaceAll(manifest.id, idOf(number)), 'latin1');
  }
  const many = { ...env, FORKPOINT_HOME: home };
  const list = (name) => () => {
    if (name.endsWith('first time')) rmSync(join(home, 'cache'), { recursive: true, force: true });
    const began = performance.now();
    run(forkpoint, VERBS[name], many);
    return Promise.resolve({ ms: performance.now() - began });
  };
  const variants = Object.fromEntries(Object.keys(VERBS).map((name) => [name, list(name)]));
  const samples = await interleave(variants, Math.max(rounds, 1), (text) => progress(`listings, ${text}`));
  run(forkpoint, ['ls'], many);
  const opened = Object.fromEntries(
    Object.keys(VERBS)
      .slice(0, 3)
      .map((name) => [name, countOpened(VERBS[name], many, home, scratch)]),
  );
  return { samples, opened };
}

/** How many files and directories of the store a command opens, by strace; null where there is none. */
function countOpened(words, env, home, scratch) {
  const log = join(scratch, 'strace');
  const { status } = spawnSync(
    'strace',
    ['-f', '-qq', '-e', 'trace=open,openat', '-o', log, forkpoint, ...words],
    { env, stdio: 'ignore' },
  );
  if (status !== 0) return null;
  const lines = readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line.includes(`"${home}/`));
  const directories = lines.filter((line) => line.includes('O_DIRECTORY')).length;
  return { files: lines.length - directories, directories };
}

async function answered(port, path) {
  for (let tries = 0; ; tries++) {
    try {
      return await ask(port, path);
    } catch (error) {
      if (tries > 2000) throw error;
      await pause(2);
    }
  }
}

/** Returns the figures as text. */
export function reportStore(result) {
  const { machine: facts, requests } = result;
  const heading = `Express, ${requests} requests of warm-up; ${facts}`;
  const { raw, compressed } = result.restores;
  const times = pairs(compressed, raw, (a, b) => a.answer / b.answer);
  const { shared, twice, once } = result.duplicates;
  return [
    heading,
    reportCodec(result.compression),
    table([
      ['restore to the first answer, ms', '', 'target'],
      ['raw', shown(summary(raw, 'answer')), ''],
      ['compressed, from the second time on', shown(summary(compressed, 'answer')), ''],
      ['compressed / raw', shown(times, 2), `1.1: ${met(times.median <= 1.1)}`],
    ]),
    table([
      ['two images that share page files', 'on the disk'],
      ['raw', megabytes(shared)],
      ['each compressed', megabytes(twice)],
      ['after gc --dedup', megabytes(once)],
    ]),
    reportListings(result),
  ].join('\n\n');
}

function reportCodec(samples) {
  const [{ rawBytes, storedBytes }] = samples;
  const rates = (key) =>
    summary(
      samples.map((sample) => ({ value: rawBytes / 1e3 / sample[key] })),
      'value',
    );
  const ratio = rawBytes / storedBytes;
  const row = (name, key, target) => {
    const rate = rates(key);
    return [name, shown(rate, 0), target === undefined ? '' : `${target}: ${met(rate.median >= target)}`];
  };
  return table([
    ['compression of a warm Express image, end to end', '', 'target'],
    ['memory', `${megabytes(rawBytes)} in ${megabytes(storedBytes)}`, ''],
    ['ratio', ratio.toFixed(1), `4: ${met(ratio >= 4)}`],
    row('compress, MB/s', 'inMs', 200),
    row('decompress, MB/s', 'outMs', 400),
    row('compress, MB per second of processor time', 'inCpuMs'),
    row('decompress, MB per second of processor time', 'outCpuMs'),
  ]);
}

function reportListings({ images, listings }) {
  const limits = { ls: 300, tree: 500, 'gc --dry-run': 2000 };
  const rows = Object.entries(listings.samples).map(([name, samples]) => {
    const found = summary(samples, 'ms');
    const opened = listings.opened[name];
    const told = opened ? `${opened.files} files, ${opened.directories} directories` : '';
    const limit = limits[name];
    return [
      name,
      shown(found, 0),
      told,
      limit === undefined ? '' : `${limit}: ${met(found.median <= limit)}`,
    ];
  });
  return table([[`a store of ${images} images`, 'ms', 'opened in the store', 'target'], ...rows]);
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function met(isMet) {
  return isMet ? 'met' : 'missed';
}
