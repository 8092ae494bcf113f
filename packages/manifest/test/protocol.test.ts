import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRequest, serializeOutcome, serializeRequest } from '../src/index.ts';
import type { Request } from '../src/index.ts';

const code = { code: 'ERR_FORKPOINT_PROTOCOL' };

test('the request of the documentation is understood', () => {
  assert.deepEqual(parseRequest('{"v":1,"op":"checkpoint","pid":77,"to":"/srv/img"}\n'), {
    v: 1,
    op: 'checkpoint',
    pid: 77,
    to: '/srv/img',
  });
});

test('a request survives the way through its line', () => {
  const request: Request = {
    v: 1,
    op: 'checkpoint',
    pid: 0,
    to: 'img%g',
    cwd: '/srv',
    stop: true,
    labels: { a: 'b' },
    timeoutMs: 5000,
    sync: false,
    link: true,
    dryRun: false,
    uncoordinated: true,
    ask: 'abc-1',
    message: 'm',
    resources: [
      { kind: 'file', what: '/x', fd: 3, pid: 9 },
      { kind: 'hook', what: 'y' },
    ],
  };
  const line = serializeRequest(request);
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.deepEqual(parseRequest(line), request);
});

test('wrong requests are refused and the field is named', () => {
  const base = { v: 1, op: 'checkpoint', pid: 1 };
  for (const [change, message] of [
    [{ v: 2 }, /\bv is not one of 1/],
    [{ op: 'reboot' }, /\bop is not one of/],
    [{ pid: -1 }, /\bpid is not between/],
    [{ pid: '1' }, /\bpid is not a whole number/],
    [{ to: '' }, /\bto is malformed/],
    [{ to: 'a\0' }, /\bto contains a NUL/],
    [{ cwd: 'x' }, /\bcwd is malformed/],
    [{ stop: 1 }, /\bstop is not/],
    [{ timeoutMs: 0 }, /\btimeoutMs is not/],
    [{ ask: '../x' }, /\bask is malformed/],
    [{ labels: { constructor: 'x' } }, /forbidden name/],
    [{ resources: [{ kind: 'x' }] }, /resources\[0\]\.what is missing/],
    [{ op: 'ready', pid: 0 }, /pid is 0/],
  ] as [object, RegExp][]) {
    assert.throws(() => parseRequest(JSON.stringify({ ...base, ...change })), { ...code, message });
  }
  for (const line of ['', 'x', '[]', 'null', '1', 'x'.repeat(2 << 20)])
    assert.throws(() => parseRequest(line), code);
});

test('any line is either a request or the error of this package', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
      assert.throws(() => parseRequest(line), code);
    }),
  );
});

test('an outcome is one line', () => {
  const line = serializeOutcome({
    v: 1,
    outcome: 'failed',
    code: 'E',
    message: 'two\nlines',
    id: 'a',
    image: null,
    parentId: null,
    generation: 0,
    index: null,
    args: [],
    env: {},
    cwd: null,
    elapsedMs: 1,
  });
  assert.equal(line.indexOf('\n'), line.length - 1);
});
