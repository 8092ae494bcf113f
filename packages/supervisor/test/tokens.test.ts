import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { randomTokens } from '../src/tokens.ts';

describe('random tokens of a text', () => {
  test('are ids, keys and numbers as programs draw them', () => {
    const drawn = [
      randomUUID(),
      randomBytes(16).toString('hex'),
      'V1StGXR8_Z5jdHi6B-myT',
      '01ARZ3NDEKTSV4RRFFQ69G5FAV',
      '507f1f77bcf86cd799439011',
      'tz4a98xxat96iws9zmbrgj3a',
      'AbCdEf0123456789+/AbCdEf0123456789w==',
      '0.7364526485730956',
    ];
    const found = randomTokens(`id=${drawn.join('; x: "')}"`);
    assert.deepEqual(new Set(found.keys()), new Set(drawn));
    assert.ok([...found.values()].every(({ bits }) => bits >= 44));
  });

  test('are no words, paths, dates, lengths or versions', () => {
    const text =
      'HTTP/1.1 200 OK content-type: application/json; charset=utf-8 Date: Tue, 24 Nov 2026 18:00:00 GMT ' +
      '/usr/lib/node_modules/forkpoint/dist/index.cjs getElementsByClassName XMLHttpRequest node-v24.21.0-linux-x64 ' +
      'content-length: 1234567890 2026-11-24T18:00:00.000Z 000000000000000000000000 keep-alive timeout=5 x86_64 0.1000000000';
    assert.deepEqual([...randomTokens(text).keys()], []);
  });
});
