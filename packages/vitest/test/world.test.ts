import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { differenceOf, lookAtWorld, settledWorld } from '../src/inside/world.ts';

/** What a module might do when it is loaded, and how to undo it. */
const DEEDS: Record<string, () => () => void> = {
  'it changes poison': () => {
    Reflect.set(globalThis, 'poison', 1);
    return () => void Reflect.deleteProperty(globalThis, 'poison');
  },
  'it changes second': () => {
    const prototype: object = Array.prototype;
    Object.defineProperty(prototype, 'second', { value: 1, configurable: true });
    return () => void Reflect.deleteProperty(prototype, 'second');
  },
  'it changes metadata': () => {
    Reflect.set(Reflect, 'metadata', 1);
    return () => void Reflect.deleteProperty(Reflect, 'metadata');
  },
  'it changes readFileSync': () => {
    const own = fs.readFileSync;
    Reflect.set(fs, 'readFileSync', () => '');
    return () => void Reflect.set(fs, 'readFileSync', own);
  },
  'it changes FORKPOINT_WORLD': () => {
    process.env['FORKPOINT_WORLD'] = '1';
    return () => void delete process.env['FORKPOINT_WORLD'];
  },
  'it keeps something open': () => {
    const timer = setInterval(() => undefined, 1000);
    return () => clearInterval(timer);
  },
  'it listens for events of the process': () => {
    const listener = (): void => undefined;
    process.on('beforeExit', listener);
    return () => void process.off('beforeExit', listener);
  },
};

test('a module that changes what others see is found out, and one that does not is not', () => {
  lookAtWorld();
  assert.equal(differenceOf(lookAtWorld(), lookAtWorld()), undefined);
  for (const [what, act] of Object.entries(DEEDS)) {
    const before = lookAtWorld();
    const undo = act();
    assert.equal(differenceOf(before, lookAtWorld()), what);
    undo();
  }
});

test('what a module opens for a moment does not count, and what it keeps open does', async () => {
  const before = lookAtWorld();
  setTimeout(() => undefined, 30);
  assert.equal(differenceOf(before, await settledWorld(before)), undefined);
  const kept = setInterval(() => undefined, 10_000);
  const after = await settledWorld(before);
  clearInterval(kept);
  assert.equal(differenceOf(before, after), 'it keeps something open');
});
