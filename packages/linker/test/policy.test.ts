import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  AREA_AIO,
  AREA_ANON_PRIVATE,
  AREA_ANON_SHARED,
  AREA_FILE_PRIVATE,
  AREA_FILE_SHARED,
  AREA_GUARD,
  AREA_STACK,
  AREA_SYSV,
  AREA_VDSO,
  AREA_VSYSCALL,
  AREA_VVAR,
  MAP_ANONYMOUS,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_PRIVATE,
  MAP_SHARED,
} from '@forkpoint/image';
import { reasonAgainst, RULES } from '../src/index.ts';
import type { Reason } from '../src/index.ts';
import { area, bytes, WITH_SHIM } from './memory.ts';

const PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS;
const cases: readonly [what: string, reason: Reason | null, changes: Parameters<typeof area>[2]][] = [
  ['plain private memory', null, {}],
  ['written pages of a private file mapping', null, { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE }],
  ['read-only memory', null, { prot: 1 }],
  ['inaccessible memory', null, { prot: 0 }],
  ['vdso', 'kernel', { status: AREA_VDSO }],
  ['vvar', 'kernel', { status: AREA_VVAR }],
  ['vsyscall', 'kernel', { status: AREA_VSYSCALL }],
  ['a ring of aio', 'kernel', { status: AREA_AIO | AREA_ANON_SHARED }],
  ['a guard', 'guard', { status: AREA_GUARD | AREA_ANON_PRIVATE }],
  ['shared anonymous memory', 'shared', { status: AREA_ANON_SHARED, flags: MAP_SHARED | MAP_ANONYMOUS }],
  ['a shared file', 'shared', { status: AREA_FILE_SHARED, flags: MAP_SHARED }],
  ['System V memory', 'shared', { status: AREA_SYSV, flags: MAP_SHARED }],
  ['the stack', 'stack', { status: AREA_ANON_PRIVATE | AREA_STACK }],
  ['memory that grows downwards', 'stack', { flags: PRIVATE | MAP_GROWSDOWN }],
  ['locked memory', 'locked', { flags: PRIVATE | MAP_LOCKED }],
  ['hugetlb memory', 'huge', { flags: PRIVATE | MAP_HUGETLB }],
  ['memory advised to be huge', 'huge', { madv: 1n << 14n }],
  ['memory wiped on fork', 'wiped', { madv: 1n << 18n }],
  ['code', 'executable', { prot: 7 }],
  ['code that is not readable', 'executable', { prot: 4 }],
];

describe('the policy', () => {
  for (const [what, reason, changes] of cases) {
    test(`${what}: ${reason ?? 'linked'}`, () =>
      assert.equal(reasonAgainst(area(16, 8, changes), WITH_SHIM), reason));
  }

  test('a thread’s stack is known by its stack pointer, its first and last byte included', () => {
    const thread = area(16, 8);
    const at = (address: number): Reason | null =>
      reasonAgainst(thread, { hasShim: true, stackPointers: [1n, BigInt(address)] });
    assert.equal(at(bytes(16)), 'stack');
    assert.equal(at(bytes(24) - 1), 'stack');
    assert.equal(at(bytes(24)), null);
    assert.equal(at(bytes(16) - 1), null);
  });

  test('without the preload only private file mappings are linked', () => {
    const facts = { stackPointers: [], hasShim: false };
    assert.equal(reasonAgainst(area(16, 8), facts), 'no-preload');
    assert.equal(reasonAgainst(area(16, 8, { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE }), facts), null);
  });

  test('every line of the table has a case here and a hazard', () => {
    const tested = new Set<string>([...cases.map(([, reason]) => reason ?? ''), 'no-preload']);
    for (const { reason, hazard } of RULES) {
      assert.ok(tested.has(reason), reason);
      assert.notEqual(hazard, '');
    }
  });
});
