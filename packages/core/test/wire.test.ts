import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encodeRequest, MAX_REQUEST_BYTES, parseAnswer, parseAsk, parseIdentity } from '../src/wire.ts';

test('an outcome line becomes a frozen identity and what the member needs', () => {
  const answer = parseAnswer(
    '{"v":1,"outcome":"restored","id":"b","image":"/i","parentId":"a","generation":2,"index":3,' +
      '"args":["x"],"env":{"A":"1"},"cwd":"/tmp","elapsedMs":5,"reseed":false}',
  );
  assert.equal(answer.isReseeded, false);
  assert.equal(answer.cwd, '/tmp');
  assert.deepEqual(answer.identity, {
    id: 'b',
    image: '/i',
    parentId: 'a',
    generation: 2,
    index: 3,
    args: ['x'],
    env: { A: '1' },
    elapsedMs: 5,
  });
  assert.ok(Object.isFrozen(answer.identity) && Object.isFrozen(answer.identity.env));
});

test('fields of the wrong type are left out, not passed on', () => {
  const answer = parseAnswer(
    '{"outcome":"failed","code":7,"resources":[{"fd":"x"},null],"env":{"A":1},"args":3}',
  );
  assert.equal(answer.code, 'ERR_FORKPOINT_FAILED');
  assert.deepEqual(answer.resources, [{ kind: 'unknown', what: '' }]);
  assert.deepEqual([answer.identity.env, answer.identity.args], [{}, []]);
});

test('what is no outcome, no identity or no ask is refused', () => {
  for (const line of ['', '[]', '{"outcome":"maybe"}', 'null', '{']) {
    assert.throws(() => parseAnswer(line), { code: 'ERR_FORKPOINT_PROTOCOL' });
  }
  assert.throws(() => parseIdentity('7'), { code: 'ERR_FORKPOINT_PROTOCOL' });
  assert.throws(() => parseAsk('{"ask":"x"}'), { code: 'ERR_FORKPOINT_PROTOCOL' });
  assert.deepEqual(parseAsk('{"v":1,"ask":5,"pids":[1,"2"]}'), { ask: '5', pids: [1], until: undefined });
});

test('a request fits into one atomic write to the FIFO, or is refused', () => {
  const fits = { op: 'prepare', to: 'x'.repeat(MAX_REQUEST_BYTES - 32) };
  assert.ok(encodeRequest(fits).length <= MAX_REQUEST_BYTES);
  assert.throws(() => encodeRequest({ to: 'ä'.repeat(MAX_REQUEST_BYTES / 2) }), {
    code: 'ERR_FORKPOINT_OPTIONS',
  });
});
