import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { write } from './pods.ts';
import { freePort, Load, serve, statusOf } from './serving.ts';

/** Asks a server at a unix socket. */
async function askSocket(socketPath: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more: string) => (text += more));
      response.once('end', () => resolve(text));
    });
    asked.once('error', reject).end();
  });
}

describe('images of forkpoint serve', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => {
    await Load.endAll();
    await person.leave();
  });

  const startOf = async (port: number): Promise<string> => (await fetchText(port)).split(' ')[0] ?? '';
  const end = async (running: Running): Promise<void> =>
    assert.equal((await running.stop('SIGTERM')).code, 0);

  test('starts from its image when nothing has changed, and anew when code or a file that it has read has', async () => {
    const port = await freePort();
    const secret = write(person, 'certificate', 'one');
    const code = `require('node:fs').readFileSync(${JSON.stringify(secret)});\n${readFileSync(programPath('serving.cjs'), 'utf8')}`;
    const program = write(person, 'app.cjs', code);
    const begin = async (...options: string[]): Promise<{ running: Running; start: string }> => {
      const running = serve(person, port, ['--workers', '1', ...options], program);
      await running.output(/^1 worker serves/m, 60_000);
      return { running, start: await startOf(port) };
    };
    const first = await begin();
    await end(first.running);

    const second = await begin();
    assert.equal(second.start, first.start);
    assert.match(second.running.stderr, /made from an earlier start, as nothing has changed since/);
    // A reload of unchanged code takes the image as well, unless it is told not to.
    const load = new Load(port);
    await person.finish(['serve', 'reload']);
    await second.running.output(/^image [1-9]\d* of generation 0 was made from an earlier start/m);
    const known = new Set([second.start]);
    const isAnew = async (times: number): Promise<void> => {
      await second.running.output(
        new RegExp(`(?:^image \\d+ of generation 0 was made from a cold start$[^]*?){${times}}`, 'm'),
        60_000,
      );
      const start = await eventually(
        () => {
          const [word = ''] = load.answers.at(-1)?.split(' ') ?? [];
          return word === '' || known.has(word) ? undefined : word;
        },
        'an answer of another start',
        60_000,
      );
      known.add(start);
    };
    await person.finish(['serve', 'reload', '--fresh']);
    await isAnew(1);
    write(person, 'certificate', 'two!');
    await person.finish(['serve', 'reload']);
    await isAnew(2);
    await load.end();
    assert.deepEqual(load.errors, []);
    await end(second.running);

    write(person, 'app.cjs', `${code}\n`);
    const third = await begin();
    assert.ok(!known.has(third.start));
    await end(third.running);
    assert.equal(readdirSync(join(person.home, 'images')).length, 1, 'one image is kept for a program');
    const fourth = await begin('--no-keep');
    assert.notEqual(fourth.start, third.start);
    await end(fourth.running);
  });

  test('starts from an image of a program that was warmed up before, and falls back to a cold start', async () => {
    const port = await freePort();
    const env = { PORT: String(port) };
    const run = await person.json(
      [
        'run',
        '-d',
        '--name',
        'warm',
        '--env',
        `PORT=${port}`,
        '--',
        nodeBinary(24),
        programPath('serving.cjs'),
      ],
      { env },
    );
    assert.ok(typeof run === 'object');
    await eventually(async () => await fetchText(port).catch(() => undefined), 'an answer');
    const warm = await startOf(port);
    await person.json(['checkpoint', 'warm', './warm', '--stop']);
    const running = person.forkpoint(['serve', '--workers', '2', '--refork', '5', '--from', './warm'], {
      env,
      timeoutMs: 120_000,
    });
    await running.output(/^2 workers serve/m, 60_000);
    assert.match(running.stderr, /^image 0 of generation 0 was made from the image \S+\/warm$/m);
    const load = new Load(port);
    await running.output(/^image 1 of generation 1 was made from worker/m, 60_000);
    await load.end();
    assert.deepEqual(load.errors, []);
    assert.ok(load.answers.every((text) => text.startsWith(warm)));
    assert.ok((await statusOf(person)).totals.requests >= load.answers.length);
    await end(running);

    const image = join(person.scratch, 'warm');
    const [inventory] = readdirSync(image, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('inventory.img'),
    );
    rmSync(join(image, inventory ?? ''));
    const again = person.forkpoint(['serve', '--workers', '1', '--from', './warm'], {
      env,
      timeoutMs: 120_000,
    });
    await again.output(/^1 worker serves/m, 60_000);
    assert.match(
      again.stderr,
      /^Warning: the image \S+\/warm cannot be used: .*; the program is started anew$/m,
    );
    assert.notEqual(await startOf(port), warm);
    await end(again);
    const nothing = await person.finish(['serve', '--from', './nothing']);
    assert.equal(nothing.code, 1);
    assert.match(nothing.stderr, /There is no image at/);
  });

  test('serves at a unix socket and at a port that the kernel chooses, which stay the same', async () => {
    const socket = join(person.scratch, 'app.sock');
    const program = write(
      person,
      'both.cjs',
      `const http = require('node:http');
const answer = (request, response) => response.end(String(process.env.FORKPOINT_WORKER));
const local = http.createServer(answer);
local.listen(${JSON.stringify(socket)}, () => {
  require('node:fs').chmodSync(${JSON.stringify(socket)}, 0o666);
  const server = http.createServer(answer).listen(0, '127.0.0.1', () => {
    console.log('at ' + local.address() + ' and ' + server.address().port);
  });
});
`,
    );
    const running = person.forkpoint(['serve', '--workers', '2', '--', nodeBinary(24), program], {
      timeoutMs: 120_000,
    });
    await running.output(/^2 workers serve/m, 60_000);
    const { addresses } = await statusOf(person);
    const [, port = ''] = /:(\d+)$/.exec(addresses.find((one) => one !== socket) ?? '') ?? [];
    assert.ok(addresses.includes(socket));
    assert.match(await fetchText(Number(port)), /^[01]$/);
    assert.match(await askSocket(socket), /^[01]$/);
    write(person, 'both.cjs', `${readFileSync(program, 'utf8')}// again\n`);
    running.child.kill('SIGHUP');
    await running.output(/^image 1 of generation 0 was made from a cold start/m, 60_000);
    await eventually(async () => {
      const { workers } = await statusOf(person);
      return workers.length === 2 && workers.every(({ mold, state }) => mold === 1 && state === 'ready')
        ? true
        : undefined;
    }, 'workers of the new start');
    const told = [...running.stdout.matchAll(/^at (\S+) and (\d+)$/gm)].map(([, path, at]) => [path, at]);
    assert.deepEqual(told, [
      [socket, port],
      [socket, port],
    ]);
    assert.match(await fetchText(Number(port)), /^[01]$/);
    assert.match(await askSocket(socket), /^[01]$/);
    await end(running);
  });
});
