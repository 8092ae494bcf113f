import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { TestContext } from 'node:test';

import { buildLibrary, Fixture, NODES } from '../built-library.ts';
import { FakeLauncher } from '../fake-launcher.ts';

const library = buildLibrary();
after(() => library.remove());

const ENV = { GREETING: 'hello' };

async function start(t: TestContext, node: string, kinds: string[]) {
  const launcher = new FakeLauncher({ env: ENV });
  const app = new Fixture('workers.cjs', { node, library, launcher, args: kinds });
  t.after(async () => {
    await app.stop();
    launcher.close();
  });
  const pid = await launcher.joined();
  assert.deepEqual(await app.line(), { ready: true });
  await launcher.next('prepare');
  await launcher.answer(pid, { outcome: 'prepared' });
  return { launcher, app, pid };
}

for (const [version, node] of NODES) {
  describe(version, () => {
    test('worker threads stand still during a checkpoint and go on after it', async (t) => {
      const { launcher, app, pid } = await start(t, node, ['busy', 'wait', 'idle', 'nest', 'bare']);
      await launcher.next('ready');
      await launcher.answer(
        pid,
        { outcome: 'continued', pending: true },
        { outcome: 'published', image: '/img' },
      );
      assert.deepEqual(await app.line(), {
        result: { outcome: 'continued', image: '/img' },
        movedWhileParked: [],
        greetings: ['old'],
      });
    });

    test('workers that come and go all the time stand still as well', async (t) => {
      const { launcher, app, pid } = await start(t, node, ['breed', 'idle']);
      await launcher.next('ready');
      await launcher.answer(pid, { outcome: 'continued' });
      const { result, movedWhileParked } = await app.line();
      assert.deepEqual([result, movedWhileParked], [{ outcome: 'continued', image: '' }, []]);
    });

    test('a restored worker has the new environment before it runs on', async (t) => {
      const { launcher, app, pid } = await start(t, node, ['idle', 'busy', 'wait']);
      await launcher.next('ready');
      await launcher.answer(pid, { outcome: 'restored', id: 'run-2', env: ENV, args: [] });
      const { greetings, movedWhileParked } = await app.line();
      assert.deepEqual([greetings, movedWhileParked], [['hello'], []]);
    });
  });
}

test('a worker that does not stop is named, and nothing is dumped', async (t) => {
  const { launcher, app, pid } = await start(t, NODES[1]?.[1] ?? '', ['stuck', 'idle']);
  const cancel = await launcher.next('cancel');
  const named = /worker threads did not stop within (\d+) ms: .*stuck/.exec(String(cancel['message']));
  // What is left of the 300 ms when the hooks have run.
  assert.ok(Number(named?.[1]) > 0 && Number(named?.[1]) <= 300, String(cancel['message']));
  await launcher.answer(pid, { outcome: 'failed', code: 'ERR_FORKPOINT_HOOK', message: 'cancelled' });
  const { result, greetings } = (await app.line()) as { result: { code: string }; greetings: string[] };
  assert.equal(result.code, 'ERR_FORKPOINT_WORKERS');
  assert.deepEqual(greetings, ['old']);
});
