// How long linking takes as images grow: the same dump is linked again and again, the sizes in turn, by a process of its own
// each time, as the worker of a checkpoint is. Usage: node bench/linking.mjs [PAIRS [MEGABYTES...]]. Says the processor's time
// too, because linking never waits for a disk.
import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeRestorePlan } from '@forkpoint/manifest';
import { linkImage } from '@forkpoint/supervisor/codec';
import { root, run } from './processes.mjs';

if (process.argv[2] === '--one') {
  const [, , , directory, controlDirectory] = process.argv;
  const [clock, used] = [performance.now(), process.cpuUsage()];
  linkImage(directory, { controlDirectory, runDirectory: directory });
  const { user, system } = process.cpuUsage(used);
  console.log(JSON.stringify({ elapsed: performance.now() - clock, used: (user + system) / 1000 }));
  process.exit(0);
}
const [pairs = 7, ...sizes] = process.argv.slice(2).map(Number);
const megabytes = sizes.length > 0 ? sizes : [256, 2048];
const forkpoint = join(root, 'bin/forkpoint');
const scratch = mkdtempSync(join(tmpdir(), 'forkpoint-linking-'));

/** Takes an image that is not linked, of a program that holds so much memory. */
function dump(name, program, mb) {
  const image = join(scratch, `${name}-${mb}`);
  const env = { ...process.env, BENCH_MB: String(mb), BENCH_FIFO: join(scratch, 'none') };
  const { id } = JSON.parse(run(forkpoint, ['run', '-d', '--json', '--', program], env));
  // It is up once it holds what it is to hold.
  while (memoryOf(id) < mb * 0.95) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  run(forkpoint, ['checkpoint', id, image, '--no-link', '--no-sync', '--stop'], env);
  return image;
}

function memoryOf(id) {
  const one = JSON.parse(run(forkpoint, ['ps', '--json'])).find((living) => living.id === id);
  const status = readFileSync(`/proc/${one.hostPid}/status`, 'utf8');
  return Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1]) / 1024;
}

/** Links a copy of a dump, made of hard links, and returns milliseconds of the clock and of the processor. */
function link(image) {
  const copy = join(scratch, 'copy');
  mkdirSync(copy, { mode: 0o700 });
  for (const name of readdirSync(image))
    if (statSync(join(image, name)).isFile()) linkSync(join(image, name), join(copy, name));
  const { controlDirectory } = decodeRestorePlan(readFileSync(join(copy, 'restore.plan')));
  const sample = JSON.parse(
    run(process.execPath, [fileURLToPath(import.meta.url), '--one', copy, controlDirectory]),
  );
  rmSync(copy, { recursive: true });
  return sample;
}

const middle = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const show = (values) =>
  `${middle(values).toFixed(1)} (${Math.min(...values).toFixed(1)}..${Math.max(...values).toFixed(1)})`;

try {
  for (const name of ['heap', 'mapped']) {
    const program = join(scratch, name);
    run('cc', ['-O2', '-o', program, join(root, `bench/programs/${name}.c`)]);
    const images = megabytes.map((mb) => dump(name, program, mb));
    const samples = images.map(() => []);
    for (let pair = 0; pair <= pairs; pair++) {
      const times = images.map(link);
      if (pair > 0) times.forEach((time, i) => samples[i].push(time));
    }
    megabytes.forEach((mb, i) => {
      const [clock, used, ratio] = [
        samples[i].map(({ elapsed }) => elapsed),
        samples[i].map((one) => one.used),
        samples[i].map((one, at) => one.used / samples[0][at].used),
      ];
      console.log(`${name} ${mb} MB: ${show(clock)} ms, processor ${show(used)} ms, ratio ${show(ratio)}`);
    });
    for (const image of images) rmSync(image, { recursive: true });
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
