import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText } from '@forkpoint/testkit';
import type { ServeStatus } from '@forkpoint/supervisor';
import type { Person } from '@forkpoint/testkit';
import { write } from './pods.ts';
import { freePort, serve, statusOf } from './serving.ts';

/** Returns the only worker, once it serves alone and its memory is known. */
async function measured(person: Person): Promise<ServeStatus['workers'][number]> {
  return await eventually(
    async () => {
      const { workers } = await statusOf(person);
      const [worker] = workers;
      const isAlone = workers.length === 1 && worker?.state === 'ready';
      return isAlone && worker.memory.privateBytes > 0 ? worker : undefined;
    },
    'one worker whose memory is known',
    30_000,
  );
}

describe('limits of forkpoint serve', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('measures the memory of its workers, and replaces one that holds too much', async () => {
    const port = await freePort();
    const running = serve(person, port, ['--workers', '1', '--memory-limit', '60MB'], 'growing.cjs');
    await running.output(/^1 worker serves/m, 60_000);
    const small = await measured(person);
    assert.ok(small.memory.privateBytes < 60e6, `${small.memory.privateBytes} bytes at the start`);
    assert.ok(small.memory.sharedBytes > 10e6, `${small.memory.sharedBytes} bytes are shared`);
    for (let time = 0; time < 4; time++) await fetchText(port, '/grow');
    const [, text = ''] = await running.output(/^Warning: worker 0 holds (\d+) bytes of its own/m);
    assert.ok(Number(text) >= 60e6 && Number(text) < 150e6, `${text} bytes`);
    await eventually(async () => {
      const { workers } = await statusOf(person);
      return workers.length === 1 && workers[0]?.worker === 1 && workers[0].state === 'ready'
        ? true
        : undefined;
    }, 'another worker in its place');
    const shown = await person.finish(['serve', 'status']);
    assert.match(
      shown.stdout,
      /^growing \([0-9a-f]{12}\): serving for .* at 127\.0\.0\.1:\d+;.*\nimage 0 of generation 0, [\d.]+ MB; \d+ requests, 0 reforks, 0 reloads\nWORKER +STATE/,
    );
    const unknown = await person.finish(['serve', 'reload', 'nobody']);
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /no living server called `nobody`\n.*These live: `growing`/);
    assert.equal((await person.finish(['serve', 'stop', 'growing'])).code, 0);
    assert.equal((await running.end()).code, 0);
    const nobody = await person.finish(['serve', 'status', '--json']);
    assert.equal(nobody.code, 1);
    assert.match(nobody.stderr, /No server is alive/);
  });

  test('makes no second image when two do not fit on the disk', async () => {
    const port = await freePort();
    const options = ['--workers', '1', '--refork', '3', '--disk-limit', '12MB'];
    const running = serve(person, port, options, 'growing.cjs');
    await running.output(/^1 worker serves/m, 60_000);
    for (let time = 0; time < 5; time++) await fetchText(port);
    await running.output(/^Warning: no refork: two images of \d+ bytes do not fit into 12000000$/m);
    assert.equal((await statusOf(person)).mold?.id, 0);
    assert.equal((await running.stop('SIGTERM')).code, 0);
  });

  test('reforks when V8 has compiled what there was, and when memory has grown', async () => {
    const port = await freePort();
    const program = write(
      person,
      'warming.cjs',
      `const works = Array.from({ length: 400 }, (_, n) => new Function('x', 'let y = x; for (let i = 0; i < 9; i++) y = (y * ' + n + ' + i) % 9973; return y;'));
const kept = [];
require('node:http').createServer((request, response) => {
  if (request.url === '/grow') kept.push(Buffer.alloc(48 << 20, 1));
  else for (const work of works) for (let time = 0; time < 200; time++) work(time);
  response.end('done');
}).listen(Number(process.env.PORT), '127.0.0.1');
`,
    );
    const config = write(
      person,
      'policies.mjs',
      "export default { workers: 1, refork: 'off', reforkWhenWarmMs: 500, reforkAfterGrowth: '30MB' };\n",
    );
    const running = serve(person, port, ['--config', config], program);
    await running.output(/^1 worker serves/m, 60_000);
    const made = (image: number): Promise<unknown> =>
      running.output(new RegExp(`^image ${image} of generation ${image} was made from worker`, 'm'), 60_000);
    const first = await measured(person);
    for (let time = 0; time < 3; time++) await fetchText(port);
    await made(1);
    // The worker of the new image counts from what that holds.
    await eventually(
      async () => ((await measured(person)).pid === first.pid ? undefined : true),
      'the worker of the next image',
      30_000,
    );
    await fetchText(port, '/grow');
    await made(2);
    assert.equal((await running.stop('SIGTERM')).code, 0);
  });
});
