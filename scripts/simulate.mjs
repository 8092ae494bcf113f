// One hour of simulated time of the re-forking server for each seed. Usage: npm run simulate [-- --seeds 10000] [--from 1]
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { spawn } from 'node:child_process';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '10000' }, from: { type: 'string', default: '1' } },
});
const [seeds, from] = [Number(values.seeds), Number(values.from)];
const processes = Math.min(2, availableParallelism());

/** Lives through every seed of one share, and prints which states were seen. */
const SHARE = `
const { liveAnHour } = await import('./packages/supervisor/test/refork-world.ts');
const [first, last, step] = process.argv.slice(1).map(Number);
const seen = new Set();
for (let seed = first; seed <= last; seed += step) for (const name of liveAnHour(seed)) seen.add(name);
console.log(JSON.stringify([...seen]));
`;

function share(index) {
  return new Promise((resolve, reject) => {
    const args = [
      '--input-type=module',
      '-e',
      SHARE,
      ...[from + index, from + seeds - 1, processes].map(String),
    ];
    const child = spawn(join(root, 'node_modules/node24/bin/node'), args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (chunk) => (text += chunk));
    child.once('close', (code) =>
      code === 0 ? resolve(JSON.parse(text)) : reject(new Error(`share ${index} failed`)),
    );
  });
}

const started = performance.now();
const seen = new Set(
  (await Promise.all(Array.from({ length: processes }, (_, index) => share(index)))).flat(),
);
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(
  `${seeds} hours in ${seconds} s; states seen: ${[...seen].toSorted((a, b) => (a < b ? -1 : 1)).join(', ')}`,
);
