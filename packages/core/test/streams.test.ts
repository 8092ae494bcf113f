import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setTerminal } from '../src/streams.ts';

test('a stream says that it is a terminal only when it is one, and a pipe stays without the word', () => {
  const stream: PassThrough & { isTTY?: boolean } = new PassThrough();
  setTerminal(stream, false);
  assert.equal('isTTY' in stream, false);
  setTerminal(stream, true);
  assert.equal(stream.isTTY, true);
  setTerminal(stream, false);
  assert.equal(stream.isTTY, false);
});
