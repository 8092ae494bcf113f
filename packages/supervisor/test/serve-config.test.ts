import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseConfig } from '../src/serve/config.ts';

const FILE = 'forkpoint.config.ts';

function settings(config: object): unknown {
  return parseConfig({ default: config }, FILE).settings;
}

describe('forkpoint.config', () => {
  test('has sizes, thresholds and times in one unit', () => {
    assert.deepEqual(
      settings({
        workers: 4,
        refork: [50, 100, false],
        memoryLimit: '300 MB',
        diskLimit: 5e9,
        timeoutMs: 1000,
      }),
      { workers: 4, refork: [50, 100], memoryLimit: 300e6, diskLimit: 5e9, timeoutMs: 1000 },
    );
    assert.deepEqual(settings({ youngGeneration: false }), { youngGeneration: false });
    assert.deepEqual(settings({ refork: 'off', workers: undefined }), { refork: [] });
    // What TypeScript makes of it for CommonJS.
    assert.deepEqual(parseConfig({ default: { default: { workers: 2 } } }, FILE).settings, { workers: 2 });
  });

  test('keeps the hooks of the server, and checks those of workers', () => {
    const afterMonitorReady = (): void => undefined;
    const { hooks } = parseConfig({ default: { afterMonitorReady, afterWorkerFork: () => undefined } }, FILE);
    assert.deepEqual(hooks, { afterMonitorReady });
  });

  const wrong: readonly (readonly [config: unknown, message: RegExp, hint?: RegExp])[] = [
    [{ default: 4 }, /forkpoint\.config\.ts exports no object as its default/, /export default \{/],
    [{ [Symbol.toStringTag]: 'Module', workers: 4 }, /exports no object/],
    [{ default: { worker: 4 } }, /there is no setting `worker`/, /Did you mean `workers`\?/],
    [{ default: { after_mold_fork: () => 0 } }, /no setting `after_mold_fork`/, /`afterMoldFork`/],
    [{ default: { max_memory_restart: '1G' } }, /no setting/, /Here it is `memoryLimit`/],
    [{ default: { workers: 0 } }, /`workers` cannot be 0: it is a whole number from 1 to 256/],
    [{ default: { workers: '4' } }, /`workers` cannot be "4": it is a whole number/],
    [{ default: { refork: [5, 'x'] } }, /`refork` cannot be \[5,"x"\]: it is a list of numbers/],
    [{ default: { memoryLimit: 'much' } }, /`memoryLimit` cannot be "much": it is a number of bytes/],
    [{ default: { afterWorkerFork: 3 } }, /`afterWorkerFork` cannot be 3: it is a function/],
    [{ default: { youngGeneration: 5 } }, /`youngGeneration` cannot be 5: it is 1, 2, 4, .* or false/],
    [{ default: { log: 'yes' } }, /`log` cannot be "yes": it is 'plain', 'prefix' or 'json'/],
    [{ default: { timeoutMs: 9, hardTimeoutMs: 8 } }, /`hardTimeoutMs` has to be longer than `timeoutMs`/],
  ];
  for (const [config, message, hint] of wrong) {
    test(`tells what is wrong: ${message.source}`, () => {
      assert.throws(
        () => parseConfig(config, FILE),
        (error: { code?: unknown; message?: unknown; hint?: unknown }) => {
          assert.equal(error.code, 'ERR_FORKPOINT_CONFIG');
          assert.match(String(error.message), message);
          if (hint !== undefined) assert.match(String(error.hint), hint);
          return true;
        },
      );
    });
  }
});
