import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { withPlainStack } from '../src/elf-stack.ts';

const PT_GNU_STACK = 0x6474e551;

/** Types and flags of the program headers. */
function headersOf(file: Uint8Array): { type: number; flags: number }[] {
  const view = Buffer.from(file);
  const offset = Number(view.readBigUInt64LE(32));
  return Array.from({ length: view.readUInt16LE(56) }, (_, index) => ({
    type: view.readUInt32LE(offset + 56 * index),
    flags: view.readUInt32LE(offset + 56 * index + 4),
  }));
}

test('a file that asks for a plain stack stays as it is', () => {
  const file = readFileSync(process.execPath).subarray(0, 4096);
  assert.ok(
    headersOf(file).some(({ type }) => type === PT_GNU_STACK),
    'the Node binary is such a file',
  );
  assert.equal(withPlainStack(file), file);
});

test('a file that says nothing gets the header, and keeps the others', () => {
  const file = Buffer.from(readFileSync(process.execPath).subarray(0, 4096));
  const offset = Number(file.readBigUInt64LE(32));
  const before = headersOf(file);
  const at = before.findIndex(({ type }) => type === PT_GNU_STACK);
  file.writeUInt32LE(4, offset + 56 * at);
  const after = headersOf(withPlainStack(file));
  assert.equal(after.length, before.length + 1);
  assert.deepEqual(after.at(-1), { type: PT_GNU_STACK, flags: 6 });
});

test('anything else is refused', () => {
  assert.throws(() => withPlainStack(Buffer.from('#!/bin/sh\n')), RangeError);
  const file = Buffer.from(readFileSync(process.execPath).subarray(0, 4096));
  file.writeBigUInt64LE(1n << 40n, 32);
  assert.throws(() => withPlainStack(file), RangeError);
});
