// Real allocators on linked memory, over two generations. Usage: npm run allocators [-- --only NAME,...]
// Fetches jemalloc, mimalloc and tcmalloc from Debian and numpy from PyPI into .forkpoint/allocators; uses the Go and the JDKs of
// this machine. The last run is recorded in docs/allocators.md.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { dataDirectory, setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const cache = join(root, '.forkpoint/allocators');
const programs = join(root, 'packages/testkit/src/programs');
const libraries = join(cache, 'root/usr/lib/x86_64-linux-gnu');
const forkpoint = join(root, 'bin/forkpoint');
const LIMIT_MS = 120_000;
const THRESHOLDS = ['none', '8', '1'];
const CASES = ['realloc', 'aligned', 'calloc', 'churn', 'fork', 'threads', 'dontneed', 'mremap-grow'];
const DEBIAN = ['libjemalloc2', 'libmimalloc2.0', 'libtcmalloc-minimal4'];

function run(argv, options = {}) {
  const child = spawnSync(argv[0], argv.slice(1), {
    encoding: 'utf8',
    timeout: LIMIT_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  });
  return {
    code: child.status,
    output: `${child.stdout ?? ''}${child.stderr ?? ''}${child.error?.message ?? ''}`,
  };
}

function step(what, argv, options) {
  const { code, output } = run(argv, options);
  if (code === 0) return;
  console.error(`Error: ${what} failed: ${output.trim()}`);
  process.exit(1);
}

/** Builds the programs and fetches the libraries, unless that is done already. */
function prepare() {
  mkdirSync(join(cache, 'java'), { recursive: true });
  if (!existsSync(libraries)) {
    step('fetching the allocators', ['apt-get', 'download', ...DEBIAN], { cwd: cache });
    for (const name of readdirSync(cache).filter((one) => one.endsWith('.deb')))
      step(`unpacking ${name}`, ['dpkg', '-x', name, 'root'], { cwd: cache });
  }
  if (!existsSync(join(cache, 'python')))
    step('fetching numpy', [
      'python3',
      '-m',
      'pip',
      'install',
      '-q',
      '--target',
      join(cache, 'python'),
      'numpy',
    ]);
  const sources = ['hazards', 'policy', 'memory', 'allocators', 'kernel'].map((name) =>
    join(programs, `c/${name}.c`),
  );
  const flags = ['-std=gnu11', '-O1', '-pthread', '-o', join(cache, 'hazards')];
  step('building the C program', ['cc', ...flags, ...sources, '-lutil']);
  const go = join(programs, 'allocators/heap.go');
  const goEnv = (cgo) => ({ env: { ...process.env, CGO_ENABLED: cgo } });
  step('building the Go program', ['go', 'build', '-o', join(cache, 'go'), go], goEnv('0'));
  const external = ['-ldflags', '-linkmode external', '-o', join(cache, 'cgo'), go];
  step('building the Go program', ['go', 'build', ...external], goEnv('1'));
  const java = ['--release', '17', '-d', join(cache, 'java'), join(programs, 'allocators/Heap.java')];
  step('building the Java program', [javac(), ...java]);
}

function jdks() {
  const all = existsSync('/usr/lib/jvm') ? readdirSync('/usr/lib/jvm') : [];
  return all
    .filter((name) => !name.startsWith('.') && existsSync(`/usr/lib/jvm/${name}/bin/java`))
    .filter((name, i, names) => names.findIndex((one) => majorOf(one) === majorOf(name)) === i);
}

const majorOf = (name) => /\d+(?:\.(\d+))?/.exec(name)?.[1] ?? /\d+/.exec(name)?.[0];

function javac() {
  const home = jdks().find((name) => existsSync(`/usr/lib/jvm/${name}/bin/javac`));
  return home === undefined ? 'javac' : `/usr/lib/jvm/${home}/bin/javac`;
}

/**
 * Name, command, environment and further arguments of everything that is tried.
 * @returns {[string, string[], Record<string, string>, string[]?][]}
 */
function subjects() {
  const c = [join(cache, 'hazards')];
  const preload = (name, env = {}) => ({ LD_PRELOAD: join(libraries, name), ...env });
  const node = (major) =>
    join(
      root,
      major === 20 || major === 24 ? '' : '.forkpoint/runtimes',
      `node_modules/node${major}/bin/node`,
    );
  const python = run(['python3', '-c', 'import sys; print(sys.executable)']).output.trim();
  const collectors = ['G1', 'Serial', 'Parallel', 'Z'];
  return [
    ['glibc', c, {}, CASES],
    ['jemalloc', c, preload('libjemalloc.so.2', { MALLOC_CONF: 'dirty_decay_ms:0,muzzy_decay_ms:0' }), CASES],
    ['mimalloc', c, preload('libmimalloc.so.2'), CASES],
    ['tcmalloc', c, preload('libtcmalloc_minimal.so.4', { TCMALLOC_RELEASE_RATE: '10' }), CASES],
    ...[20, 22, 24, 26].map((major) => [
      `V8 of Node ${major}`,
      [node(major), '--expose-gc', join(programs, 'allocators/v8.cjs')],
      {},
    ]),
    ['Go, static', [join(cache, 'go')], {}],
    ['Go, with cgo', [join(cache, 'cgo')], {}],
    [
      'CPython, numpy',
      [python, join(programs, 'allocators/arrays.py')],
      { PYTHONPATH: join(cache, 'python') },
    ],
    ...jdks().flatMap((name) =>
      collectors.map((collector) => [
        `JDK ${majorOf(name)}, ${collector}`,
        [
          `/usr/lib/jvm/${name}/bin/java`,
          `-XX:+Use${collector}GC`,
          '-Xmx512m',
          '-cp',
          join(cache, 'java'),
          'Heap',
        ],
        {},
      ]),
    ),
  ];
}

/** Runs one program over two generations; returns a cell of the table. */
function tried([, command, env, cases = []], threshold) {
  const directory = mkdtempSync(join(tmpdir(), 'fp-allocators-'));
  const linked = threshold === 'none' ? { HAZARDS_PLAIN: '1' } : { FORKPOINT_LINK_THRESHOLD: threshold };
  const options = {
    cwd: directory,
    env: { ...process.env, FORKPOINT_HOME: dataDirectory(), ...env, ...linked },
  };
  const images = [1, 2].map((k) => join(directory, `image${k}`));
  try {
    const first = run([forkpoint, 'run', '--', ...command, ...images, ...cases], options);
    if (first.code !== 0) return refusal(first.output);
    const second = run([forkpoint, 'restore', images[0]], options);
    const third = run([forkpoint, 'restore', images[1]], options);
    if (second.code !== 0 || third.code !== 0 || !/^ok$/m.test(third.output))
      return `WRONG: ${`${second.output}${third.output}`.trim().split('\n').slice(0, 3).join('; ')}`;
    return threshold === 'none' ? 'ok' : `ok, ${shareOf(images[0])} linked`;
  } finally {
    // The worker behind the last checkpoint may still be writing digests.
    rmSync(directory, { recursive: true, force: true, maxRetries: 30, retryDelay: 100 });
  }
}

function refusal(output) {
  const message = /"message":"([^"]*)"/.exec(output)?.[1];
  return message === undefined ? `WRONG: ${output.trim().slice(-300)}` : `refused: ${message}`;
}

function shareOf(image) {
  const sizes = (directory, pattern) =>
    existsSync(directory)
      ? readdirSync(directory)
          .filter((name) => pattern.test(name))
          .reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)
      : 0;
  const layers = sizes(join(image, 'layers'), /\.pages$/);
  const own = sizes(image, /^pages-\d+\.img$/);
  // Shared memory, such as ZGC's heap, is among what is copied, and in no layer.
  if (own > layers) return 'private memory';
  return layers === 0 ? 'nothing' : `${((1 - own / layers) * 100).toFixed(1)}%`;
}

const { values } = parseArgs({ options: { only: { type: 'string' } } });
await setup({ runtimes: true });
prepare();
const wanted = values.only?.split(',');
console.log('| allocator | not linked | linked from 8 pages on | linked page by page |\n|---|---|---|---|');
for (const subject of subjects().filter(
  ([name]) => wanted === undefined || wanted.some((one) => name.toLowerCase().includes(one.toLowerCase())),
)) {
  const [name] = /** @type {[string]} */ (subject);
  const cells = THRESHOLDS.map((threshold) => tried(subject, threshold));
  if (cells.some((cell) => cell.startsWith('WRONG'))) process.exitCode = 1;
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}
