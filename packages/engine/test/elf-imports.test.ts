import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { importsOf } from '@forkpoint/engine';

test('functions and variables that a program imports are read with version and library', () => {
  const imports = importsOf(readFileSync(process.execPath));
  const of = (name: string) => imports.find((found) => found.name === name);
  assert.deepEqual(
    { ...of('mmap64'), version: '' },
    { name: 'mmap64', isVariable: false, version: '', library: 'libc.so.6' },
  );
  assert.match(of('mmap64')?.version ?? '', /^GLIBC_2/);
  assert.equal(of('stderr')?.isVariable, true);
});

test('what is no ELF file, or is cut short, is refused', () => {
  assert.throws(() => importsOf(Buffer.from('#!/bin/sh\n')), RangeError);
  assert.throws(() => importsOf(readFileSync(process.execPath).subarray(0, 4096)), RangeError);
});
