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
  MAP_DROPPABLE,
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
  ['written pages of a library', null, { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE, shmid: 7n }],
  [
    'written pages of another private file mapping',
    'file',
    { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE, shmid: 8n },
  ],
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
  ['droppable memory', 'droppable', { flags: MAP_DROPPABLE | MAP_ANONYMOUS }],
  ['code', null, { prot: 7 }],
  ['code that is not readable', null, { prot: 4 }],
];

describe('the policy', () => {
  for (const [what, reason, changes] of cases) {
    test(`${what}: ${reason ?? 'linked'}`, () =>
      assert.equal(reasonAgainst(area(16, 8, changes), WITH_SHIM), reason));
  }

  test('a thread’s stack is known by its stack pointer, its first and last byte included', () => {
    const thread = area(16, 8);
    const at = (address: number): Reason | null =>
      reasonAgainst(thread, { ...WITH_SHIM, stackPointers: [1n, BigInt(address)] });
    assert.equal(at(bytes(16)), 'stack');
    assert.equal(at(bytes(24) - 1), 'stack');
    assert.equal(at(bytes(24)), null);
    assert.equal(at(bytes(16) - 1), null);
  });

  test('arguments that were moved stay readable for /proc, also when they begin or end within an area', () => {
    const shown = (from: number, to: number): Reason | null =>
      reasonAgainst(area(16, 8), { ...WITH_SHIM, shown: [[BigInt(from), BigInt(to)]] });
    assert.equal(shown(bytes(17), bytes(18)), 'arguments');
    assert.equal(shown(bytes(10), bytes(16) + 1), 'arguments');
    assert.equal(shown(bytes(24) - 1, bytes(30)), 'arguments');
    assert.equal(shown(bytes(10), bytes(16)), null);
    assert.equal(shown(bytes(24), bytes(30)), null);
  });

  test('without the preload, or with calls past it, only what the loader mapped is linked', () => {
    const library = area(16, 8, { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE, shmid: 7n });
    for (const [reason, facts] of [
      ['no-preload', { ...WITH_SHIM, hasShim: false }],
      ['own-calls', { ...WITH_SHIM, hasOwnCalls: true }],
    ] as const) {
      assert.equal(reasonAgainst(area(16, 8), facts), reason);
      assert.equal(reasonAgainst(library, facts), null);
    }
  });

  test('code is not linked where what maps it is mounted noexec', () => {
    const facts = { ...WITH_SHIM, mayExecute: false };
    for (const prot of [7, 5, 4]) assert.equal(reasonAgainst(area(16, 8, { prot }), facts), 'executable');
    assert.equal(reasonAgainst(area(16, 8), facts), null);
  });

  test('every line of the table has a case here and a hazard', () => {
    const tested = new Set<string>([
      ...cases.map(([, reason]) => reason ?? ''),
      'executable',
      'arguments',
      'own-calls',
      'no-preload',
    ]);
    for (const { reason, hazard } of RULES) {
      assert.ok(tested.has(reason), reason);
      assert.notEqual(hazard, '');
    }
  });
});
