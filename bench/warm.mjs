// Warm ESLint and Prettier on a project of 50 files, beside ordinary starts of the same commands. Output and exit code have to be
// equal in every round.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { callTool, installInto, warmTools } from '../scripts/lib/warm-tools.mjs';
import { interleave, pairs, shown, summary, table } from './driver.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const SIZES = {
  smoke: { files: 5, rounds: 1, runs: 2 },
  quick: { files: 50, rounds: 7, runs: 12 },
  full: { files: 50, rounds: 15, runs: 12 },
};
const LINES = { eslint: ['src'], prettier: ['--check', 'src'] };

/** Runs the benchmark in a data directory in which set-up has been done. */
export async function benchWarm({ home, size = 'quick', progress = () => undefined }) {
  const { files, rounds, runs } = SIZES[size];
  const tools = await warmTools(root);
  const work = mkdtempSync(join(home, 'bench-warm-'));
  const project = join(work, 'project');
  const env = { ...process.env, FORKPOINT_HOME: home };
  const forkpoint = (...args) =>
    spawnSync(join(root, 'bin/forkpoint'), args, { cwd: project, env, encoding: 'utf8' });
  try {
    makeProject(project, files);
    installInto(project, tools);
    const result = { size, files, cpu: cpus()[0]?.model ?? '', load: loadavg()[0], tools: {} };
    for (const [tool, args] of Object.entries(LINES)) {
      const line = ['--runs', String(runs), '--streams', '000', '--', 'npx', tool, ...args];
      const made = forkpoint('warm', tool, ...line);
      if (made.status !== 0) throw new Error(`${tool} was not warmed: ${made.stderr}`);
      const wanted = await callTool([join(project, 'node_modules/.bin', tool)], project, { args });
      const variant = (argv) => async () => {
        const { tookMs, reason, ...answer } = await callTool(argv, project, { args });
        if (reason !== undefined) throw new Error(`${tool} started cold: ${reason}`);
        for (const key of ['stdout', 'stderr', 'code'])
          if (answer[key] !== wanted[key]) throw new Error(`${argv[0]} answers differently: ${key}`);
        return { ms: tookMs };
      };
      result.tools[tool] = await interleave(
        {
          cold: variant([join(project, 'node_modules/.bin', tool)]),
          warm: variant([join(home, 'warm/bin', tool)]),
        },
        rounds,
        (text) => progress(`${tool}: ${text}`),
      );
    }
    return result;
  } finally {
    for (const tool of Object.keys(LINES)) forkpoint('warm', tool, '--remove');
    rmSync(work, { recursive: true, force: true });
  }
}

/** Returns what was measured as text. */
export function reportWarm({ size, files, cpu, load, tools }) {
  const rows = [['', 'cold ms', 'warm ms', 'cold/warm']];
  for (const [tool, { cold, warm }] of Object.entries(tools))
    rows.push([
      tool,
      shown(summary(cold, 'ms'), 0),
      shown(summary(warm, 'ms'), 0),
      shown(pairs(cold, warm, (a, b) => a.ms / b.ms)),
    ]);
  return `${files} files, size ${size}, ${cpu}, load ${load.toFixed(1)}\n${table(rows)}`;
}

function makeProject(project, count) {
  const put = (path, text) => writeFileSync(join(project, path), text);
  mkdirSync(join(project, 'src'), { recursive: true });
  put('package.json', '{ "name": "project", "private": true, "type": "module" }\n');
  put(
    'eslint.config.js',
    `import js from '@eslint/js';\nimport ts from 'typescript-eslint';\nexport default [js.configs.recommended, ...ts.configs.recommended];\n`,
  );
  put(
    'tsconfig.json',
    '{ "compilerOptions": { "strict": true, "noEmit": true, "types": [] }, "include": ["src"] }\n',
  );
  for (let i = 0; i < count; i++) {
    put(
      `src/f${i}.ts`,
      `export interface Item${i} { id: number; name: string; tags?: string[] }
export async function load${i}(text: string): Promise<Item${i}[]> {
  const items = JSON.parse(text) as Item${i}[];
  let unused = ${i};
  return items.filter((item) => item.id > ${i}).map((item) => ({ ...item, name: item.name.trim() }));
}
export class Store${i} {
  private items = new Map<number, Item${i}>();
  add(item: Item${i}): this { this.items.set(item.id, item); return this; }
  get(id: number): Item${i} | undefined { return this.items.get(id); }
  async all(): Promise<any> { return [...this.items.values()]; }
}\n`,
    );
  }
}
