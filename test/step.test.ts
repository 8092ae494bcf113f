import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

const step = pathToFileURL(new URL('../scripts/lib/step.mjs', import.meta.url).pathname).href;

test('an interrupted set-up ends with what it had under way, and not before', async () => {
  // The command takes back what it has done, as npm does, and says so.
  const command = `trap 'echo tidied >&2; exit 1' INT TERM; echo ready >&2; while :; do sleep 0.01; done`;
  const script = `
    import { Interrupted, run } from '${step}';
    const options = { env: process.env, timeoutMs: 20_000, onLine: (line) => console.log(line) };
    await run(['sh', '-c', ${JSON.stringify(command)}], options).catch((error) => {
      console.log(error instanceof Interrupted, error.exitCode, error.hint);
    });
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  child.stdout.once('data', () => child.kill('SIGTERM'));
  const [said] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.equal(said, 'ready\ntidied\ntrue 143 start again: what is already there is kept\n');
});
