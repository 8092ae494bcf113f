// Bundles what is published: packages/forkpoint/dist. Usage: node scripts/build.mjs [--force]
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { copyClients } from './clients.mjs';
import { asAscii, loadLate } from './lib/late-builtins.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const published = join(root, 'packages/forkpoint');
const dist = join(published, 'dist');

/** All files that the bundles are made from, with this script. */
function sources() {
  const files = ['scripts/build.mjs', 'scripts/lib/late-builtins.mjs', 'package-lock.json'].map((name) =>
    join(root, name),
  );
  const walk = (directory) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory() && !['node_modules', 'dist', 'test', 'proto'].includes(entry.name)) walk(path);
      else if (entry.isFile() && /\.(ts|json|c|h)$/.test(entry.name)) files.push(path);
    }
  };
  walk(join(root, 'packages'));
  return files.sort((a, b) => (a < b ? -1 : 1));
}

function fingerprint() {
  const hash = createHash('sha256');
  for (const file of sources())
    hash.update(relative(root, file)).update('\0').update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

async function bundle(out) {
  const { build } = await import('esbuild');
  const { version } = JSON.parse(readFileSync(join(published, 'package.json'), 'utf8'));
  const common = {
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'cjs',
    outdir: out,
    outExtension: { '.js': '.cjs' },
    define: { FORKPOINT_VERSION: JSON.stringify(version) },
    legalComments: 'none',
    logLevel: 'warning',
  };
  // The library stays readable; what only runs is made small, because it is parsed at every start.
  await build({
    ...common,
    entryPoints: {
      index: join(published, 'src/index.ts'),
      preload: join(published, 'src/preload.ts'),
      host: join(published, 'src/host.ts'),
      vitest: join(root, 'packages/vitest/src/index.ts'),
    },
  });
  await build({
    ...common,
    entryPoints: {
      'cli.main': join(root, 'packages/cli/src/main.ts'),
      'worker.main': join(root, 'packages/supervisor/src/main.ts'),
      'vitest-mold': join(root, 'packages/vitest/src/inside/main.ts'),
      test: join(root, 'packages/vitest/src/node-test/parent.ts'),
      'test-mold': join(root, 'packages/vitest/src/node-test/inside.ts'),
      warm: join(root, 'packages/supervisor/src/warm/driver/main.ts'),
    },
    minifySyntax: true,
    minifyWhitespace: true,
  });
  for (const name of ['cli.main', 'worker.main']) {
    const path = join(out, `${name}.cjs`);
    writeFileSync(path, asAscii(loadLate(readFileSync(path, 'utf8'))));
  }
  for (const name of ['cli', 'worker']) {
    const define = { FORKPOINT_BUNDLE: JSON.stringify(name) };
    await build({
      ...common,
      define,
      entryPoints: { [name]: join(published, 'src/start.ts') },
      minifyWhitespace: true,
    });
  }
  reexport(out);
}

/** The same libraries for `import`. */
function reexport(out) {
  for (const name of ['index', 'host', 'vitest']) {
    const names = exportedNames(join(out, `${name}.cjs`));
    writeFileSync(
      join(out, `${name}.mjs`),
      `import library from './${name}.cjs';\nexport const { ${names.join(', ')} } = library;\n`,
    );
  }
}

/** Libraries that a bundler may have put into a file of the program's, where no adapter finds them by itself. */
const ADAPTERS = ['pg'];

/** `forkpoint/adapters/NAME`: goes by the runtime that all copies of the library share. */
function adapters(out) {
  mkdirSync(join(out, 'adapters'));
  for (const name of ADAPTERS) {
    const path = join(out, 'adapters', name);
    const adapt = `(library) => globalThis[Symbol.for('forkpoint.runtime')]?.adapt?.('${name}', library) ?? library`;
    writeFileSync(`${path}.cjs`, `'use strict';\nrequire('../index.cjs');\nexports.adapt = ${adapt};\n`);
    writeFileSync(`${path}.mjs`, `import '../index.cjs';\nexport const adapt = ${adapt};\n`);
    const types = [
      '/**',
      ` * Adapts a copy of ${name} that forkpoint has not seen, because a bundler has put it into another file. Call it before anything is`,
      ' * connected. Returns the library. Throws a TypeError for something else; does nothing outside of forkpoint.',
      ' */',
      'export declare function adapt<T>(library: T): T;',
      '',
    ].join('\n');
    for (const directory of ['types', 'types-cjs']) {
      mkdirSync(join(out, directory, 'adapters'), { recursive: true });
      writeFileSync(join(out, directory, 'adapters', `${name}.d.ts`), types);
    }
  }
}

/** The exports of a bundle are those of its first file; modules that are imported late have lists of their own. */
function exportedNames(path) {
  const text = readFileSync(path, 'utf8');
  const first = /^module\.exports = __toCommonJS\((\w+)\);/m.exec(text)?.[1];
  const list = new RegExp(`__export\\(${first}, \\{([\\s\\S]*?)\\n\\}\\);`).exec(text)?.[1];
  if (list === undefined) throw new Error(`no list of exports was found in ${path}`);
  return [...list.matchAll(/^\s*(\w+): /gm)].map((match) => match[1]);
}

/**
 * The types, twice: a package of type "module" needs declarations of its own for `require`. Those of the library come from its
 * source, which imports nothing; of the host library's those that its exports lead to, in which no private package may show.
 */
function declare(out) {
  const common = join(out, 'types-cjs');
  for (const types of [join(out, 'types'), common])
    for (const name of ['host', 'vitest']) mkdirSync(join(types, name), { recursive: true });
  writeFileSync(join(common, 'package.json'), '{ "type": "commonjs" }\n');
  const write = (name, text) => {
    const named = text.replaceAll(/(from '\.\/[^']+)\.ts'/g, "$1.js'");
    for (const directory of [join(out, 'types'), common]) writeFileSync(join(directory, name), named);
  };
  const library = join(out, '.declared');
  emitTypes(join(root, 'packages/core/src/index.ts'), library);
  for (const name of readdirSync(library).filter((name) => name.endsWith('.d.ts')))
    write(name, readFileSync(join(library, name), 'utf8'));
  const host = join(out, '.declared-host');
  emitTypes(join(root, 'packages/supervisor/src/host/public.ts'), host);
  writeReached('host', join(host, 'host'), 'public', write);
  const vitest = join(out, '.declared-vitest');
  emitTypes(join(root, 'packages/vitest/src/index.ts'), vitest);
  writeReached('vitest', vitest, 'index', write);
  for (const directory of [library, host, vitest]) rmSync(directory, { recursive: true });
}

/** Writes those declarations to `types/NAME` that the exports of a first file lead to. */
function writeReached(directory, from, first, write) {
  const reached = new Set([first]);
  for (const name of reached) {
    const text = readFileSync(join(from, `${name}.d.ts`), 'utf8');
    if (text.includes('@forkpoint/'))
      throw new Error(`the types of ${directory}/${name}.ts show a private package`);
    for (const [, other] of text.matchAll(/from '\.\/([^']+)\.ts'/g)) reached.add(other);
    write(`${directory}/${name === first ? 'index' : name}.d.ts`, text);
  }
}

function emitTypes(source, outDir) {
  const flags = ['--ignoreConfig', '--declaration', '--emitDeclarationOnly', '--target', 'es2023'];
  const more = [
    '--module',
    'nodenext',
    '--types',
    'node',
    '--strict',
    '--allowImportingTsExtensions',
    '--skipLibCheck',
  ];
  const tsc = join(root, 'node_modules/.bin/tsc');
  execFileSync(tsc, [...flags, ...more, '--outDir', outDir, source], { cwd: root, stdio: 'inherit' });
}

/** C sources go with the package: the launcher and the shim are built on the user's machine. */
function copyNative(out) {
  const from = join(root, 'packages/launcher');
  for (const directory of ['', 'shim']) {
    mkdirSync(join(out, directory), { recursive: true });
    for (const name of readdirSync(join(from, directory)).filter((name) => /\.[ch]$/.test(name)))
      writeFileSync(join(out, directory, name), readFileSync(join(from, directory, name)));
  }
}

copyClients();

const stamp = join(dist, 'build.stamp');
const wanted = fingerprint();
if (!process.argv.includes('--force') && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted)
  process.exit(0);

// What a build that was killed has left.
for (const name of readdirSync(published)) {
  const [, pid] = /^\.(?:dist|old)-(\d+)$/.exec(name) ?? [];
  if (pid !== undefined && !existsSync(`/proc/${pid}`))
    rmSync(join(published, name), { recursive: true, force: true });
}
const draft = join(published, `.dist-${process.pid}`);
try {
  mkdirSync(draft, { recursive: true });
  await bundle(draft);
  copyNative(join(draft, 'native'));
  declare(draft);
  adapters(draft);
  writeFileSync(join(draft, 'build.stamp'), wanted);
  const old = join(published, `.old-${process.pid}`);
  if (existsSync(dist) && statSync(dist).isDirectory()) renameSync(dist, old);
  renameSync(draft, dist);
  rmSync(old, { recursive: true, force: true });
} finally {
  rmSync(draft, { recursive: true, force: true });
}
