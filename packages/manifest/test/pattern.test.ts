import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPattern, expandPattern, hasPattern } from '../src/index.ts';

const values = {
  pid: 42,
  generation: 3,
  timeMs: Date.UTC(2024, 8, 6, 15, 10, 28, 999),
  uuid: '11111111-2222-4333-8444-555555555555',
  arch: 'x86_64',
  cpuFeatures: '00ffab',
  cpuCount: 8,
  maxHeapBytes: 512 * 1024 * 1024,
};

test('every pattern gives its value', () => {
  const table: Record<string, string> = {
    img: 'img',
    '%%': '%',
    '%%p': '%p',
    '%p': '42',
    '%5p': '   42',
    '%05p': '00042',
    '%1p': '42',
    'cr%g': 'cr3',
    '%03g': '003',
    '%c': '8',
    '%02c': '08',
    '%a': 'x86_64',
    '%f': '00ffab',
    '%u': values.uuid,
    '%t': '20240906T151028Z',
    '%T': '1725635428',
    '%012T': '001725635428',
    '%m': '512M',
    '%12m': '   536870912',
    '%012m': '000536870912',
    '/a/%p/%g-ü': '/a/42/3-ü',
    '%p%%%g': '42%3',
  };
  for (const [pattern, expected] of Object.entries(table))
    assert.equal(expandPattern(pattern, values), expected, pattern);
});

test('the heap is written with the largest unit that divides it', () => {
  const of = (maxHeapBytes: number): string => expandPattern('%m', { ...values, maxHeapBytes });
  assert.deepEqual([0, 1, 1024, 1536, 1536 * 1024, 2 ** 31].map(of), ['0', '1', '1k', '1536', '1536k', '2G']);
});

test('what is no pattern is refused, before the values are known', () => {
  for (const pattern of ['%', 'a%', '%0', '%0p', '%5', '%x', '%5a', '%05%', '%256p', '%é', '% p']) {
    assert.throws(() => checkPattern(pattern), { code: 'ERR_FORKPOINT_PATTERN' }, pattern);
    assert.throws(() => expandPattern(pattern, values), { code: 'ERR_FORKPOINT_PATTERN' }, pattern);
  }
  checkPattern('/a/%05p');
});

test('a result longer than a path may be is refused', () => {
  assert.throws(() => expandPattern('%255p'.repeat(17), values), /4335 bytes/);
});

test('only a percent sign makes a pattern', () => {
  assert.equal(hasPattern('/a/b'), false);
  assert.equal(hasPattern('/a/%%'), true);
});
