import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { WarmError } from '../src/warm/error.ts';
import { readRecord } from '../src/warm/record.ts';

const directory = mkdtempSync(join(tmpdir(), 'fp-warm-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const project = join(directory, 'project');
const work = join(directory, 'work');
mkdirSync(join(project, 'node_modules/tool'), { recursive: true });
writeFileSync(join(project, 'node_modules/tool/index.js'), '1');
symlinkSync('tool', join(project, 'node_modules/alias'));

// Everything here is younger than the tests: what counts as "before" lies in the future.
const scope = {
  work,
  own: [join(directory, 'pod')],
  temporary: join(directory, 'tmp'),
  startedAt: Date.now() + 60_000,
};

function record(...entries: string[]): Buffer {
  return Buffer.from(entries.map((entry) => `${entry}\0`).join(''));
}

test('keeps what was looked at outside of the copies, and packages under the project’s own paths', () => {
  const seen = readRecord(
    record(
      `o${project}/node_modules/tool/index.js`,
      `s${project}/node_modules/tool/index.js`,
      `l${project}/node_modules/alias`,
      `s${work}/1${project}/node_modules/absent/package.json`,
      `o${work}/1${project}/source.js`,
      `w${work}/1${project}/made.js`,
      `w${work}/2${project}/node_modules/.cache/tool`,
      `s${directory}/pod/identity.json`,
      `w${directory}/tmp/draft`,
      `o${directory}/tmp/draft`,
      'o/proc/self/maps',
    ),
    scope,
  );
  assert.deepEqual(
    seen.map(({ look, path }) => [look, path.slice(project.length)]),
    [
      ['s', '/node_modules/tool/index.js'],
      ['l', '/node_modules/alias'],
      ['s', '/node_modules/absent/package.json'],
    ],
  );
  assert.equal(seen[2]?.stamp, '-');
});

test('refuses what writes elsewhere, what changed meanwhile and what cannot be looked at', () => {
  const refused = (startedAt: number, ...entries: string[]): string => {
    try {
      readRecord(record(...entries), { ...scope, startedAt });
    } catch (error) {
      assert.ok(error instanceof WarmError);
      return error.code;
    }
    return 'accepted';
  };
  const later = scope.startedAt;
  assert.equal(refused(later, `w${directory}/elsewhere`), 'ERR_FORKPOINT_WARM_WRITES');
  assert.equal(refused(later, `w${work}/1${project}/node_modules/tool/made`), 'ERR_FORKPOINT_WARM_WRITES');
  assert.equal(
    refused(Date.now() - 60_000, `o${project}/node_modules/tool/index.js`),
    'ERR_FORKPOINT_WARM_CHANGED',
  );
  symlinkSync('loop', join(directory, 'loop'));
  assert.equal(refused(later, `o${directory}/loop`), 'ERR_FORKPOINT_WARM_UNREADABLE');
});
