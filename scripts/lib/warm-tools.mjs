// Linters, formatters and compilers that only the tests and benchmarks of warm command lines use, in .forkpoint/warm-tools, and
// random projects for them.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { run, SetupError } from './step.mjs';

const PACKAGES = {
  '@eslint/js': '10.0.1',
  '@fsouza/prettierd': '0.29.0',
  eslint: '10.15.0',
  eslint_d: '15.0.3',
  prettier: '3.10.1',
  typescript: '5.9.3',
  'typescript-eslint': '8.74.0',
};
const INSTALL_LIMIT_MS = 10 * 60_000;
const CALL_LIMIT_MS = 120_000;

/** Installs them when they are not there in these versions, and returns their directory. */
export async function warmTools(root) {
  const directory = join(root, '.forkpoint/warm-tools');
  const isThere = Object.entries(PACKAGES).every(([name, wanted]) => {
    try {
      return (
        JSON.parse(readFileSync(join(directory, 'node_modules', name, 'package.json'), 'utf8')).version ===
        wanted
      );
    } catch {
      // Missing or cut short: npm writes it again.
      return false;
    }
  });
  if (isThere) return directory;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ private: true, dependencies: PACKAGES }));
  const flags = ['--no-audit', '--no-fund', '--loglevel=error'];
  const { code, output } = await run(['npm', 'install', ...flags], {
    cwd: directory,
    env: process.env,
    timeoutMs: INSTALL_LIMIT_MS,
  });
  if (code !== 0) throw new SetupError(`the tools to be warmed cannot be installed: ${output.trim()}`);
  return directory;
}

/** Makes the packages of a project: links to the tools, and a plugin of its own that can be edited. */
export function installInto(project, tools) {
  const link = (from, to) => {
    mkdirSync(to, { recursive: true });
    for (const entry of readdirSync(from, { withFileTypes: true })) {
      if (entry.name.startsWith('@')) link(join(from, entry.name), join(to, entry.name));
      else if (!entry.name.startsWith('.') || entry.name === '.bin')
        symlinkSync(join(from, entry.name), join(to, entry.name));
    }
  };
  link(join(tools, 'node_modules'), join(project, 'node_modules'));
  const plugin = join(project, 'node_modules/eslint-plugin-own');
  mkdirSync(plugin, { recursive: true });
  writeFileSync(
    join(plugin, 'package.json'),
    '{"name":"eslint-plugin-own","version":"1.0.0","main":"index.cjs"}',
  );
  writePlugin(project, 'no names of one letter');
}

/** The text of its one message tells which version of the plugin answered. */
export function writePlugin(project, message) {
  writeFileSync(
    join(project, 'node_modules/eslint-plugin-own/index.cjs'),
    `module.exports = { rules: { long: { create: (context) => ({
  VariableDeclarator(node) { if (node.id.name?.length === 1) context.report({ node, message: ${JSON.stringify(message)} }); },
}) } } };\n`,
  );
}

/** A sequence of numbers below `limit` that a seed decides (mulberry32). */
export function dice(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const roll = (limit) => next() % limit;
  return { roll, one: (list) => list[roll(list.length)] };
}

const LINES = [
  'export const a = 1;',
  "let unused = 'x'",
  'export function add(left: number, right: number) { return left+right }',
  'export const list = [1,2 ,3].map((item) => { return item * 2; });',
  'var old = 1; export { old };',
  'export class Shop { private items: string[] = []; add(item: string) { this.items.push(item); return this } }',
  'export const loose: any = JSON.parse("{}");',
  'if (1 == 1) { debugger }',
  'export type Pair<A, B> = { first: A, second: B };',
  'export async function load(path: string): Promise<string> { return await Promise.resolve(path); }',
  '/* eslint-disable no-var */',
  'export const long = { one: 1, two: 2, three: 3, four: 4, five: 5, six: 6, seven: 7, eight: 8, nine: 9 };',
  'switch (a) { case 1: break; }',
  'const = broken',
];

/** Writes a random project over whatever is there but its packages: the same one for the same dice. */
export function writeProject(project, { roll, one }) {
  for (const name of existsSync(project) ? readdirSync(project) : [])
    if (name !== 'node_modules') rmSync(join(project, name), { recursive: true });
  const put = (path, text) => {
    mkdirSync(dirname(join(project, path)), { recursive: true });
    writeFileSync(join(project, path), text);
  };
  put('package.json', '{ "name": "project", "private": true, "type": "module" }\n');
  const isTyped = roll(4) === 0;
  const rules = `{ 'prefer-const': '${one(['off', 'warn', 'error'])}', eqeqeq: '${one(['off', 'warn', 'error'])}', 'own/long': 'warn' }`;
  put(
    'eslint.config.js',
    `import js from '@eslint/js';
import own from 'eslint-plugin-own';
import ts from 'typescript-eslint';
export default [
  { ignores: [${roll(3) === 0 ? "'src/inner/**'" : ''}] },
  js.configs.recommended,
  ...ts.configs.${isTyped ? 'recommendedTypeChecked' : 'recommended'},
  { plugins: { own }, rules: ${rules}${isTyped ? ', languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } }' : ''} },
  { files: ['**/*.js'], ...ts.configs.disableTypeChecked },
];\n`,
  );
  put(
    '.prettierrc',
    JSON.stringify({ semi: roll(2) === 0, singleQuote: roll(2) === 0, printWidth: one([60, 80, 120]) }),
  );
  if (roll(3) === 0) put('.prettierignore', one(['src/inner\n', '*.json\n', 'src/f1.ts\n']));
  if (roll(4) === 0) put('.editorconfig', `root = true\n[*]\nindent_style = ${one(['tab', 'space'])}\n`);
  const strict = roll(2) === 0;
  put(
    'tsconfig.json',
    JSON.stringify({ compilerOptions: { strict, noEmit: true, types: [] }, include: ['src'] }),
  );
  const count = 1 + roll(6);
  for (let i = 0; i < count; i++) {
    const lines = Array.from({ length: 1 + roll(8) }, () => one(LINES));
    put(`src/${roll(3) === 0 ? 'inner/' : ''}f${i}.ts`, `${lines.join('\n')}\n`);
  }
}

/** A random call of a tool, in the project or below it. */
export function drawCall(tool, { roll, one }) {
  const cwd = one(['.', '.', 'src']);
  const env = one([{}, {}, {}, { FORCE_COLOR: '1' }, { NO_COLOR: '1' }]);
  const stdin = `${one(LINES)}\n${one(LINES)}\n`;
  const calls = {
    eslint: [
      { args: ['.'] },
      { args: ['.', '--fix'] },
      { args: ['.', '-f', 'json'] },
      { args: ['.', '--max-warnings', '0', '--quiet'] },
      { args: ['--stdin', '--stdin-filename', 'src/typed.ts'], stdin },
      { args: ['absent.ts'] },
      { args: ['--no-such-option'] },
      { args: ['--version'] },
    ],
    prettier: [
      { args: ['--check', '.'] },
      { args: ['--write', '.'] },
      { args: ['-l', '.'] },
      { args: ['--stdin-filepath', 'x.ts'], stdin },
      { args: ['--check', 'absent.ts'] },
      { args: ['--no-such-option', '.'] },
      { args: ['--find-config-path', 'x.ts'] },
    ],
  };
  return { tool, cwd, env, ...calls[tool][roll(calls[tool].length)] };
}

/** Runs a command to its end and returns what it printed, its exit code and the files that are there afterwards. */
export async function callTool(argv, project, { cwd = '.', env = {}, stdin, args }) {
  const began = performance.now();
  const child = spawn(argv[0], [...argv.slice(1), ...args], {
    cwd: existsSync(join(project, cwd)) ? join(project, cwd) : project,
    env: { ...process.env, FORKPOINT_WARM_DEBUG: '1', FORKPOINT_WARM_REFRESH: '0', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: CALL_LIMIT_MS,
  });
  const out = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'])
    child[name].setEncoding('utf8').on('data', (text) => (out[name] += text));
  child.stdin.on('error', () => undefined);
  child.stdin.end(stdin ?? '');
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  const reason = /^forkpoint warm: (.*)\n/m.exec(out.stderr)?.[1];
  const tookMs = performance.now() - began;
  const stderr = out.stderr.replace(/^forkpoint warm: .*\n/m, '');
  return {
    stdout: masked(out.stdout),
    stderr: masked(stderr),
    code,
    files: filesOf(project),
    reason,
    tookMs,
  };
}

/** Durations differ between any two calls. */
function masked(text) {
  return text.replaceAll(/\b\d+(\.\d+)?\s?ms\b/g, 'TIME');
}

function filesOf(directory) {
  const found = {};
  const walk = (path) => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const full = join(path, entry.name);
      if (entry.name === 'node_modules') continue;
      if (entry.isDirectory()) walk(full);
      else
        found[full] =
          `${statSync(full).mode} ${createHash('sha256').update(readFileSync(full)).digest('hex')}`;
    }
  };
  walk(directory);
  return found;
}
