// What the preload shim costs a program: processor time of the same work with the shim and without, in turn.
// Usage: node bench/shim.mjs [PAIRS]
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run } from './processes.mjs';

const pairs = Number(process.argv[2] ?? 9);
const home = process.env.FORKPOINT_HOME ?? join(homedir(), '.forkpoint');
const shim = join(home, 'engine/native/current/shim.so');
const scratch = mkdtempSync(join(tmpdir(), 'forkpoint-shim-'));

// Buffers of many sizes, each written: all of them come from malloc(3) and most from a mapping of their own.
const BUFFERS = `
  const from = process.cpuUsage();
  let sum = 0;
  for (let i = 0; i < 3000; i++) sum += Buffer.alloc(4096 + (i % 64) * 8192, i & 255)[4095];
  const { user, system } = process.cpuUsage(from);
  console.log((user + system) * 1000 / 3000);`;

const middle = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const show = (values, digits) =>
  `${middle(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)}..${Math.max(...values).toFixed(digits)})`;

/** Takes an image of the loop before it begins; what is returned restores it and lets it begin. */
function restoredFrom(moves) {
  const image = join(scratch, 'image');
  const start = join(scratch, 'start');
  const env = { ...process.env, MOVES_START: start };
  const forkpoint = join(root, 'bin/forkpoint');
  const { id } = JSON.parse(run(forkpoint, ['run', '-d', '--json', '--', moves], env));
  while (!run(forkpoint, ['logs', id], env).includes('up'))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  run(forkpoint, ['checkpoint', id, image, '--stop'], { ...env, FORKPOINT_LINK_THRESHOLD: '1' });
  writeFileSync(start, '');
  return () => Number(run(forkpoint, ['restore', image], env));
}

try {
  const moves = join(scratch, 'moves');
  run('cc', ['-O2', '-o', moves, join(root, 'bench/programs/moves.c')]);
  const works = { 'C, a round of five calls': [moves], 'Node, a Buffer': [process.execPath, '-e', BUFFERS] };
  const plain = ([file, ...args]) => ({
    with: () => Number(run(file, args, { ...process.env, LD_PRELOAD: shim })),
    without: () => Number(run(file, args)),
  });
  const kinds = {
    ...Object.fromEntries(Object.entries(works).map(([name, argv]) => [name, plain(argv)])),
    'C, restored': { with: restoredFrom(moves), without: () => Number(run(moves, [])) },
  };
  for (const [name, variants] of Object.entries(kinds)) {
    const took = (preload) => (preload ? variants.with() : variants.without());
    const samples = [];
    for (let pair = 0; pair <= pairs; pair++) {
      const first = pair % 2 === 0;
      const [a, b] = [took(first), took(!first)];
      if (pair > 0) samples.push(first ? { shim: a, none: b } : { shim: b, none: a });
    }
    const [none, loaded] = [samples.map((one) => one.none), samples.map((one) => one.shim)];
    const ratio = show(
      samples.map((one) => one.shim / one.none),
      2,
    );
    console.log(`${name}: without ${show(none, 0)} ns, with the shim ${show(loaded, 0)} ns, ratio ${ratio}`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
