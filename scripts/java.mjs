// Builds the Java client with javac, which needs neither Maven nor the network. Usage: node scripts/java.mjs [--javac PATH]
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const source = join(root, 'clients/java/src/main/java');
const target = join(root, 'packages/forkpoint/clients/forkpoint.jar');
const LIMIT_MS = 120_000;

function sources() {
  return readdirSync(source, { recursive: true })
    .filter((name) => /\.java$|MANIFEST/.test(name))
    .toSorted((a, b) => (a < b ? -1 : 1))
    .map((name) => join(source, name));
}

/**
 * Builds packages/forkpoint/clients/forkpoint.jar unless it belongs to these sources; returns its path. Images have the
 * archive open, so that it is not touched without need. `javac` and `jar` are those of a JDK of 17 or newer.
 */
export function buildJavaClient(bin) {
  const files = sources();
  const hash = createHash('sha256');
  for (const file of files) hash.update(file.slice(source.length)).update('\0').update(readFileSync(file));
  const fingerprint = hash.digest('hex');
  const mark = `${target}.sources`;
  if (existsSync(target) && existsSync(mark) && readFileSync(mark, 'utf8') === fingerprint) return target;
  const work = mkdtempSync(join(tmpdir(), 'fp-java-'));
  try {
    const tool = (name) => (bin === undefined ? name : join(bin, name));
    const run = (name, args) =>
      execFileSync(tool(name), args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS });
    const java = files.filter((file) => file.endsWith('.java'));
    // sun.misc.Signal is the only way to hear a signal; its warning cannot be switched off by an annotation.
    run('javac', [
      '--release',
      '17',
      '-Xlint:all',
      '-XDignore.symbol.file',
      '-nowarn',
      '-d',
      join(work, 'classes'),
      ...java,
    ]);
    run('jar', [
      '--create',
      '--file',
      join(work, 'forkpoint.jar'),
      '--date=2026-01-01T00:00:00Z',
      '--manifest',
      join(source, 'MANIFEST.MF'),
      '-C',
      join(work, 'classes'),
      '.',
    ]);
    mkdirSync(dirname(target), { recursive: true });
    // Beside the target: the temporary directory may be another file system.
    writeFileSync(`${target}.new`, readFileSync(join(work, 'forkpoint.jar')));
    renameSync(`${target}.new`, target);
    writeFileSync(mark, fingerprint);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return target;
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  console.log(buildJavaClient(process.argv[2]));
}
