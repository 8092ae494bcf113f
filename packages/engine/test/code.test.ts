import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '@forkpoint/testkit';
import { makeCode } from '../src/code.ts';

const dist = join(root, 'packages/forkpoint/dist');

test('the bundles are compiled ahead once, and whatever becomes of that, commands run', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'fp-code-'));
  t.after(() => rmSync(home, { recursive: true }));
  const engine = join(home, 'engine');
  const env = { ...process.env, FORKPOINT_HOME: home };
  const said: string[] = [];
  const make = async (): Promise<string[]> => {
    await makeCode(engine, dist, { env, log: (line) => said.push(line) });
    return readdirSync(join(engine, 'code')).sort();
  };
  const version = (): string =>
    execFileSync(process.execPath, [join(dist, 'cli.cjs'), '--version'], { env, encoding: 'utf8' });

  const names = await make();
  assert.deepEqual(said, []);
  assert.deepEqual(
    names.map((name) => name.replace(/-[0-9a-f]{16}-/, '-STAMP-')),
    ['cli', 'worker'].map((name) => `${name}-STAMP-${process.version}-${process.arch}`),
  );
  const path = join(engine, 'code', names[0] ?? '');
  const made = statSync(path);
  assert.ok(made.size > 100_000, 'what V8 made of the command line');
  const expected = version();

  assert.deepEqual(await make(), names);
  assert.equal(statSync(path).mtimeMs, made.mtimeMs, 'nothing was made again');
  truncateSync(path, 1000);
  assert.equal(version(), expected);
  writeFileSync(path, readFileSync(join(dist, 'cli.main.cjs')));
  assert.equal(version(), expected);

  for (let i = 0; i < 20; i++) {
    writeFileSync(join(engine, 'code', `old-${i}`), '');
    utimesSync(join(engine, 'code', `old-${i}`), i + 1, i + 1);
  }
  const left = await make();
  assert.equal(left.length, 16);
  for (const name of names) assert.ok(left.includes(name), 'what is new stays');
});
