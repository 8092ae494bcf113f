import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

import { createContext, OrderedContext } from '../src/context.ts';
import type { HookContext, Resource } from '../src/types.ts';

const IDENTITY: HookContext = {
  id: 'r',
  image: null,
  parentId: null,
  generation: 0,
  index: null,
  args: [],
  env: {},
  elapsedMs: 0,
};

function recorder(
  name: string,
  log: string[],
  fails: 'before' | 'after' | 'both' | 'never' = 'never',
): Resource {
  return {
    beforeCheckpoint() {
      log.push(`before ${name}`);
      if (fails === 'before' || fails === 'both') throw new Error(`${name} before`);
    },
    async afterRestore() {
      await Promise.resolve();
      log.push(`after ${name}`);
      if (fails === 'after' || fails === 'both') throw new Error(`${name} after`);
    },
  };
}

async function failuresOf(promise: Promise<void>): Promise<string[]> {
  try {
    await promise;
    return [];
  } catch (error) {
    assert.ok(error instanceof AggregateError);
    return error.errors.map((each: Error) => each.message);
  }
}

test('before hooks run newest first, after hooks oldest first', async () => {
  const log: string[] = [];
  const context = new OrderedContext();
  const resources = ['a', 'b', 'c'].map((name) => recorder(name, log));
  for (const resource of resources) context.register(resource);
  await context.beforeCheckpoint(IDENTITY);
  await context.afterRestore(IDENTITY);
  assert.deepEqual(log, ['before c', 'before b', 'before a', 'after a', 'after b', 'after c']);
});

test('every hook runs when others throw, and all causes are collected', async () => {
  const log: string[] = [];
  const context = new OrderedContext();
  const resources = [recorder('a', log, 'both'), recorder('b', log, 'before'), recorder('c', log, 'after')];
  for (const resource of resources) context.register(resource);
  assert.deepEqual(await failuresOf(context.beforeCheckpoint(IDENTITY)), ['b before', 'a before']);
  assert.deepEqual(await failuresOf(context.afterRestore(IDENTITY)), ['a after', 'c after']);
  assert.equal(log.length, 6);
});

test('a hook that exceeds its time limit counts as failed, by name', async () => {
  class ConnectionPool implements Resource {
    beforeCheckpoint(): Promise<void> {
      return new Promise(() => {});
    }
    afterRestore(): void {}
  }
  const context = new OrderedContext();
  const pool = new ConnectionPool();
  context.register(pool, { timeoutMs: 20 });
  const [failure] = await failuresOf(context.beforeCheckpoint(IDENTITY));
  assert.match(failure ?? '', /beforeCheckpoint of ConnectionPool did not end within 20 ms/);
});

test('a resource registered while hooks run takes part the next time', async () => {
  const log: string[] = [];
  const context = new OrderedContext();
  const late = recorder('late', log);
  const first: Resource = { beforeCheckpoint: () => context.register(late), afterRestore() {} };
  context.register(first);
  await context.beforeCheckpoint(IDENTITY);
  await context.afterRestore(IDENTITY);
  assert.deepEqual(log, []);
  await context.beforeCheckpoint(IDENTITY);
  await context.afterRestore(IDENTITY);
  assert.deepEqual(log, ['before late', 'after late']);
});

test('an unregistered resource is told nothing more, but gets the afterRestore of the checkpoint it is in', async () => {
  const log: string[] = [];
  const context = new OrderedContext();
  const resource = recorder('a', log);
  context.register(resource);
  await context.beforeCheckpoint(IDENTITY);
  assert.equal(context.unregister(resource), true);
  assert.equal(context.unregister(resource), false);
  await context.afterRestore(IDENTITY);
  await context.beforeCheckpoint(IDENTITY);
  assert.deepEqual(log, ['before a', 'after a']);
});

test('a context can be registered in another one; failures inside come out one by one', async () => {
  const log: string[] = [];
  const outer = new OrderedContext();
  const inner = createContext();
  const resources = [recorder('a', log, 'before'), recorder('b', log, 'before')];
  for (const resource of resources) inner.register(resource);
  const last = recorder('last', log);
  outer.register(inner);
  outer.register(last);
  assert.deepEqual(await failuresOf(outer.beforeCheckpoint(IDENTITY)), ['b before', 'a before']);
  await outer.afterRestore(IDENTITY);
  assert.deepEqual(log, ['before last', 'before b', 'before a', 'after a', 'after b', 'after last']);
});

test('registering twice keeps one place, and what is no resource is refused', async () => {
  const log: string[] = [];
  const context = new OrderedContext();
  const resource = recorder('a', log);
  context.register(resource);
  context.register(resource);
  await context.beforeCheckpoint(IDENTITY);
  assert.deepEqual(log, ['before a']);
  for (const wrong of [null, undefined, 1, {}, { beforeCheckpoint() {} }]) {
    assert.throws(() => context.register(wrong as unknown as Resource), TypeError);
  }
  assert.throws(() => context.register(resource, { timeoutMs: 0 }), RangeError);
});

test('resources are held weakly, and strongly from their before hook to their after hook', () => {
  const script = `
    import { OrderedContext } from ${JSON.stringify(new URL('../src/context.ts', import.meta.url).href)};
    const log = [];
    const context = new OrderedContext();
    const collect = async () => { for (let i = 0; i < 3; i++) { await new Promise((done) => setTimeout(done, 1)); gc(); } };
    (() => context.register({ beforeCheckpoint() { log.push('before'); }, afterRestore() { log.push('after'); } }))();
    await context.beforeCheckpoint({});
    await collect();
    await context.afterRestore({});
    await collect();
    console.log(JSON.stringify([context.isEmpty(), log]));
    await context.beforeCheckpoint({});
    console.log(JSON.stringify(log));`;
  const options = { encoding: 'utf8', timeout: 20_000 } as const;
  const result = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], options);
  assert.equal(result.stdout, '[true,["before","after"]]\n["before","after"]\n', result.stderr);
});
