// Linked images: restores of large heaps beside plain CRIU, memory shared by clones, a second generation beside the first.
// Every part is measured by itself and takes minutes at full size. What it prints: image-report.mjs.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { nodeUnderTest } from '../scripts/lib/runtimes.mjs';
import { measureClones } from './clones.mjs';
import { measureHeaps } from './heap.mjs';
import { targetsOf } from './image-report.mjs';
import { measureImprovement } from './improve.mjs';
import { machine, mapped, root, run } from './processes.mjs';

const NODES = [20, 22, 24, 26];

/** Megabytes of the heaps, pairs, clones and requests by size. */
const SIZES = {
  smoke: {
    ...{ pairs: 1, c: [32], jvm: [], node: [24], nodes: [], clones: 2, heapMb: 10, growth: [] },
    ...{ warm: 50, first: 5 },
  },
  quick: {
    ...{ pairs: 3, c: [50, 256, 500, 1024], jvm: [256, 512, 1024], node: [50, 1024], nodes: [20, 24] },
    ...{ clones: 20, heapMb: 50, growth: [1, 100], warm: 1000, first: 20 },
  },
  full: {
    ...{ pairs: 7, c: [50, 256, 500, 1024], jvm: [256, 512, 1024, 2048], node: [50, 1024], nodes: NODES },
    ...{ clones: 50, heapMb: 50, growth: [1, 100, 5000], warm: 1000, first: 20 },
  },
};

/** The parts by name; each gets what it needs and returns its samples. */
const PARTS = {
  c: heaps(({ c }, scratch) => {
    const program = join(scratch, 'heap');
    run('cc', ['-O2', '-o', program, join(root, 'bench/programs/heap.c')]);
    return Object.fromEntries(c.map((mb) => [`C ${mb} MB`, { argv: [program], env: heapOf(mb) }]));
  }),
  jvm: heaps(({ jvm }, scratch) => {
    run('javac', ['-d', scratch, join(root, 'bench/programs/Heap.java')]);
    // CRIU restores /tmp/hsperfdata_USER/PID by path, and the JVM removes it at its end: so it makes none.
    const flags = ['-XX:+UseSerialGC', '-XX:-UsePerfData', '-cp', scratch];
    return Object.fromEntries(
      jvm.map((mb) => [
        `JVM ${mb} MB`,
        { argv: ['java', ...flags, `-Xms${2 * mb}m`, `-Xmx${2 * mb}m`, 'Heap'], env: heapOf(mb) },
      ]),
    );
  }),
  ...Object.fromEntries(NODES.map((major) => [`node${major}`, heaps((size) => nodeCases(size, major))])),
  node: heaps((size) => nodeCases(size, null)),
  clones: measureClones,
  improve: measureImprovement,
};

/** Returns the names of the parts that a size measures when none is named. */
export function partsOf(size) {
  const { jvm, nodes } = SIZES[size];
  const heapParts = ['c', ...(jvm.length > 0 ? ['jvm'] : []), ...nodes.map((major) => `node${major}`)];
  return [...heapParts, ...(nodes.length === 0 ? ['node'] : []), 'clones', 'improve'];
}

/**
 * Runs the benchmark, or one part of it, in a data directory in which set-up has been done. Returns the samples by part.
 * @param {{ home: string, size?: 'smoke' | 'quick' | 'full', part?: string, progress?: (text: string) => void }} options
 */
export async function benchImage({ home, size = 'quick', part, progress = () => undefined }) {
  const names = part === undefined ? partsOf(size) : part.split(',');
  const unknown = names.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined)
    throw new Error(`there is no part ${unknown}; there are ${Object.keys(PARTS).join(', ')}`);
  const parts = {};
  for (const name of names) {
    const scratch = mkdtempSync(join(home, 'bench-'));
    const say = (text) => progress(`${name}: ${text}`);
    try {
      parts[name] = await PARTS[name]({ home, scratch, size: SIZES[size], progress: say });
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
  return { size, parts, targets: mapped(parts, targetsOf), machine: machine() };
}

function heaps(casesOf) {
  return async ({ home, scratch, size, progress }) =>
    await measureHeaps({ home, scratch, rounds: size.pairs, progress, cases: casesOf(size, scratch) });
}

function heapOf(mb) {
  return { BENCH_MB: String(mb) };
}

/** The largest heap also without address hints: what they are good for. `null` is the Node that runs this. */
function nodeCases({ node }, major) {
  const binary = major === null ? process.execPath : nodeUnderTest(root, major);
  const { stdout } = spawnSync(binary, ['--version'], { encoding: 'utf8' });
  if (stdout === null) throw new Error(`${binary} is missing: run \`npm test\` once, which installs it`);
  const name = `Node ${stdout.trim().slice(1)}`;
  const options = (mb) => ({
    argv: [binary, `--max-old-space-size=${4 * mb + 256}`, join(root, 'bench/programs/heap.cjs')],
    env: heapOf(mb),
    flags: ['--no-reseed'],
  });
  const cases = node.map((mb) => [`${name}, ${mb} MB`, options(mb)]);
  const most = node.at(-1);
  const without = { ...options(most), stock: false };
  without.env = { ...without.env, FORKPOINT_NO_ADDRESS_HINTS: '1' };
  return Object.fromEntries([...cases, [`${name}, ${most} MB, no address hints`, without]]);
}
