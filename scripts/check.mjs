// Types, lint, format. Usage: npm run check
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const steps = [
  ['types', 'tsc', '-p', 'tsconfig.json'],
  ['lint', 'oxlint', '--type-aware', '--max-warnings=0'],
  ['format', 'oxfmt', '--check', '.'],
];
let failed = 0;
for (const [name, tool, ...args] of steps) {
  const { status } = spawnSync(`${root}/node_modules/.bin/${tool}`, args, { cwd: root, stdio: 'inherit' });
  console.log(`${name}: ${status === 0 ? 'ok' : 'failed'}`);
  if (status !== 0) failed++;
}
process.exitCode = failed === 0 ? 0 : 1;
