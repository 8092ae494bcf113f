import fs from 'node:fs';
import Module from 'node:module';
import express from 'express';
import { expect, test } from 'vitest';

const found = [];
const claim = (what, holder, key) => {
  if (holder[key] !== undefined) found.push(what);
  try {
    Object.defineProperty(holder, key, {
      value: 'poison',
      configurable: true,
      writable: true,
      enumerable: false,
    });
  } catch {
    holder[key] = 'poison';
  }
};

test('nothing of another file is here', () => {
  const here = process.cwd();
  claim('a global', globalThis, 'poison');
  claim('a prototype', Object.prototype, 'poisoned');
  claim('an array', Array.prototype, 'last');
  claim('a variable', process.env, 'POISON');
  claim('a builtin module', fs, 'poison');
  claim('a package', express, 'poison');
  claim('the module cache', Module._cache, '/poison.js');
  claim('Math', Math, 'poison');
  claim('the process', process, 'poison');
  if (process.listenerCount('poison') > 0) found.push('a listener');
  process.on('poison', () => undefined);
  expect(found).toEqual([]);
  expect(here).toBe(process.env.TOWN_ROOT ?? here);
  expect(process.env.TOWN).toBe('Ghent');
  process.env.TOWN = 'elsewhere';
  process.chdir('/');
  process.umask(0o077);
  setInterval(() => (globalThis.ticks = (globalThis.ticks ?? 0) + 1), 1);
  globalThis.setTimeout = () => undefined;
  Math.random = () => 0.5;
  Date.now = () => 0;
  JSON.parse = () => 'poison';
});

test('randomness is of its own', () => {
  console.log(`uuid ${crypto.randomUUID()}`);
});
