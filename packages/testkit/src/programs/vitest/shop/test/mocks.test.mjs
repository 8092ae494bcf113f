import { readFileSync } from 'node:fs';
import express from 'express';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { app } from '../src/app.mjs';
import { stock } from '../src/stock.mjs';

vi.mock('../src/stock.mjs', () => ({ stock: vi.fn(() => 42) }));
vi.mock('express', async (original) => {
  const real = await original();
  return {
    ...real,
    default: Object.assign(() => ({ get: vi.fn(), isMocked: true }), { real: real.default }),
  };
});
vi.mock('node:fs', () => ({ readFileSync: () => 'no file' }));

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test('a package that was loaded before, a module of its own and a builtin are mocked', () => {
  expect(app.isMocked).toBe(true);
  expect(typeof express.real).toBe('function');
  expect(stock('tea')).toBe(42);
  expect(readFileSync('/etc/hostname')).toBe('no file');
});

test('time stands still', () => {
  vi.setSystemTime(new Date('2001-02-03T04:05:06Z'));
  const late = vi.fn();
  setTimeout(() => late(), 60_000);
  vi.advanceTimersByTime(59_999);
  expect(late).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(late).toHaveBeenCalledOnce();
  expect(new Date().toISOString()).toBe('2001-02-03T04:06:06.000Z');
  expect(() => vi.useFakeTimers({ toFake: ['nextTick'] })).toThrow(/child_process/);
});
