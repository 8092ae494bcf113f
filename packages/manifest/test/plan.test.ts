import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createRecordReader, decodePlan, encodePlan, planBody, planHeader } from '../src/index.ts';

const field = fc.string({ unit: 'binary', maxLength: 20 }).filter((text) => !text.includes('\0'));
const record = fc.record(
  {
    key: fc.stringMatching(/^[a-z][a-z0-9-]{0,9}$/),
    fields: fc.array(field, { maxLength: 6 }),
  },
  { noNullPrototype: true },
);
const records = fc.array(record, { maxLength: 10 });
const code = { code: 'ERR_FORKPOINT_PLAN_INVALID' };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test('decoding gives back what was encoded', () => {
  fc.assert(fc.property(records, (value) => assert.deepEqual(decodePlan(encodePlan(value)), value)));
});

test('a stream cut anywhere gives the same records', () => {
  fc.assert(
    fc.property(records, fc.integer({ min: 1, max: 9 }), (value, step) => {
      const all = encodePlan(value);
      const reader = createRecordReader();
      const found = [];
      for (let at = 0; at < all.length; at += step) found.push(...reader.push(all.subarray(at, at + step)));
      reader.end();
      assert.deepEqual(found, value);
    }),
  );
});

test('any bytes are either records or the error of this package', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (value) => {
      try {
        decodePlan(value);
      } catch (error) {
        assert.equal((error as { code: string }).code, code.code);
      }
    }),
  );
});

test('a plan cut short anywhere inside is refused', () => {
  const all = encodePlan([{ key: 'env', fields: ['A', 'b', 'C', 'd'] }]);
  for (let end = 1; end < all.length; end += 1) assert.throws(() => decodePlan(all.subarray(0, end)), code);
});

test('huge counts, overlong heads and oversize plans are refused at once', () => {
  assert.throws(() => decodePlan(bytes('env:999999999\0')), code);
  assert.throws(() => decodePlan(bytes('env:99999999999999\0')), code);
  assert.throws(() => decodePlan(bytes('env:-1\0')), code);
  assert.throws(() => decodePlan(bytes('env:01\0x\0')), code);
  assert.throws(() => decodePlan(bytes('e'.repeat(100))), code);
  assert.throws(
    () => decodePlan(bytes('e:0\0'.repeat(20)), { maxBytes: 999, maxRecords: 10, maxFields: 1 }),
    code,
  );
  assert.throws(() => decodePlan(new Uint8Array(11), { maxBytes: 10, maxRecords: 10, maxFields: 1 }), code);
  assert.throws(() => decodePlan(new Uint8Array([97, 58, 49, 0, 0xff, 0])), code);
});

test('a stream that never completes a record is refused', () => {
  const reader = createRecordReader({ maxBytes: 100, maxRecords: 1, maxFields: 1 });
  assert.throws(() => reader.push(bytes(`a:1\0${'x'.repeat(200)}`)), code);
});

test('strings that a plan cannot carry are refused', () => {
  assert.throws(() => encodePlan([{ key: 'arg', fields: ['a\0b'] }]), code);
  assert.throws(() => encodePlan([{ key: 'arg', fields: ['\ud800'] }]), code);
  assert.throws(() => encodePlan([{ key: 'a:b', fields: [] }]), code);
});

test('another kind or a newer version is refused by name', () => {
  assert.throws(() => planBody([planHeader('run', 1)], 'restore', 1), /kind restore.*"run"/);
  assert.throws(() => planBody([planHeader('run', 7)], 'run', 1), /version 1.*"7"/);
  assert.throws(() => planBody([], 'run', 1), code);
});
