import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const packages = fileURLToPath(new URL('../packages', import.meta.url));

/** The layer of each package (ARCHITECTURE.md). testkit stands beside: only tests use it. */
const LAYERS: Readonly<Record<string, number>> = {
  core: 0,
  image: 0,
  rewrite: 1,
  linker: 1,
  manifest: 1,
  store: 2,
  engine: 2,
  supervisor: 3,
  cli: 4,
  vitest: 4,
  forkpoint: 5,
};
const PURE = new Set(['image', 'rewrite', 'manifest']);
const MAY_PRINT = new Set(['cli']);
const LINES_MAX = 400;

interface Source {
  readonly package: string;
  readonly path: string;
  readonly text: string;
}

function sources(extension: RegExp): Source[] {
  return readdirSync(packages, { recursive: true, encoding: 'utf8' })
    .filter((path) => extension.test(path) && !/(^|\/)(node_modules|dist|gen|test|programs)\//.test(path))
    .map((path) => ({
      package: path.split('/')[0] ?? '',
      path,
      text: readFileSync(join(packages, path), 'utf8'),
    }));
}

function importsOf(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?'([^']+)'/g)].map((match) => match[1] ?? '');
}

const typescript = sources(/\.ts$/);

test('a package imports only from packages of a lower layer', () => {
  for (const source of typescript) {
    const own = LAYERS[source.package];
    if (own === undefined) continue;
    for (const name of importsOf(source.text)) {
      const imported = /^@forkpoint\/([a-z]+)/.exec(name)?.[1];
      if (imported === undefined) continue;
      const layer = LAYERS[imported];
      assert.ok(layer !== undefined, `${source.path}: ${imported} has no layer`);
      assert.ok(layer < own, `${source.path}: ${source.package} must not import ${imported}`);
    }
  }
});

test('imports across packages go by name, never by path', () => {
  for (const source of typescript) {
    const depth = source.path.split('/').length - 2;
    for (const name of importsOf(source.text)) {
      const ups = name.split('/').filter((part) => part === '..').length;
      assert.ok(
        ups < depth + 1 || source.package === 'testkit',
        `${source.path}: ${name} leaves the package`,
      );
    }
  }
});

test('image, rewrite and manifest do no input or output', () => {
  for (const source of typescript.filter((one) => PURE.has(one.package))) {
    for (const name of importsOf(source.text)) {
      assert.doesNotMatch(name, /^node:(fs|child_process|net|http)/, `${source.path}: ${name}`);
    }
  }
});

test('the refork policy does no input or output, and reads no clock', () => {
  const policy = typescript.filter(({ path }) => path.startsWith('supervisor/src/refork/'));
  assert.notEqual(policy.length, 0);
  for (const source of policy) {
    for (const name of importsOf(source.text)) assert.match(name, /^\.\//, `${source.path}: ${name}`);
    assert.doesNotMatch(
      source.text,
      /\b(Date|performance|process|setTimeout|setInterval|Math\.random)\b/,
      source.path,
    );
  }
});

test('only the command line prints', () => {
  for (const source of typescript) {
    if (MAY_PRINT.has(source.package) || source.package === 'testkit') continue;
    const isPrinting = /^\s*(console\.|process\.stdout\.write\()/m.test(source.text);
    assert.ok(!isPrinting, `${source.path} prints`);
  }
});

test('the library inside the program depends on nothing', () => {
  for (const source of typescript.filter((one) => one.package === 'core')) {
    for (const name of importsOf(source.text)) assert.match(name, /^(node:|\.)/, `${source.path}: ${name}`);
  }
});

test('only engine, launcher and the checkpoint worker speak of how CRIU is called', () => {
  for (const source of typescript) {
    if (['engine', 'supervisor', 'testkit'].includes(source.package)) continue;
    assert.doesNotMatch(source.text, /'--leave-(running|stopped)'|'--inherit-fd'/, source.path);
  }
});

test('no file is longer than 400 lines', () => {
  for (const source of [...typescript, ...sources(/\.[ch]$/)]) {
    const lines = source.text.split('\n').length - 1;
    assert.ok(lines <= LINES_MAX, `${source.path} has ${lines} lines`);
  }
});

test('nothing is left for later', () => {
  for (const source of typescript) assert.doesNotMatch(source.text, /\b(TODO|FIXME|XXX|HACK)\b/, source.path);
});
