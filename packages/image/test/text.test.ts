import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { bytesToText, textToBytes } from '../src/index.ts';

describe('bytesToText and textToBytes', () => {
  it('give back any bytes', () => {
    const isSame = fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      assert.deepEqual(textToBytes(bytesToText(bytes)), bytes);
    });
    fc.assert(isSame);
  });

  it('leave valid text as it is', () => {
    const isSame = fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.equal(bytesToText(new TextEncoder().encode(text)), text);
    });
    fc.assert(isSame);
  });
});
