import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { gone, living, write } from './pods.ts';
import { freePort, Load, serve, statusOf } from './serving.ts';

/** Asks for what takes its time; resolves with the rest of the answer to come, once it has begun. */
async function slowly(port: number, path: string): Promise<{ rest: Promise<string> }> {
  return await new Promise((resolve, reject) => {
    const asked = get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      let text = '';
      const rest = new Promise<string>((done, failed) => {
        response.once('end', () => done(text)).once('error', failed);
      });
      response.setEncoding('utf8').on('data', (more: string) => (text += more));
      response.once('data', () => resolve({ rest }));
    });
    asked.once('error', reject);
  });
}

/** The pids of the launchers of all workers. */
async function launchersOf(person: Person): Promise<number[]> {
  return (await living(person)).map(({ id }) => {
    const record = JSON.parse(readFileSync(join(person.home, 'runs', id, 'run.json'), 'utf8')) as {
      launcherPid: number;
    };
    return record.launcherPid;
  });
}

describe('forkpoint serve', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => {
    await Load.endAll();
    await person.leave();
  });

  test('serves an unmodified program, reforks and rolls out a new start without a failed request, and replaces a worker that is killed', async () => {
    const port = await freePort();
    const code = readFileSync(programPath('serving.cjs'), 'utf8');
    const program = write(person, 'serving.cjs', code);
    const running = serve(person, port, ['--workers', '3', '--refork', '20'], program);
    await running.output(/^3 workers serve/m, 60_000);
    const load = new Load(port);
    await running.output(/^image 1 of generation 1 was made from worker/m, 60_000);
    await eventually(
      async () =>
        (await living(person)).filter((run) => run.generation === 2).length === 3 ? true : undefined,
      'three workers of the second generation',
      60_000,
    );
    write(person, 'serving.cjs', `${code}// Another release.\n`);
    running.child.kill('SIGHUP');
    await running.output(/^image 2 of generation 0 was made from a cold start/m, 60_000);
    const starts = [...running.stdout.matchAll(/^started (\w+) at (\d+)/gm)];
    assert.deepEqual(
      starts.map((match) => match[2]),
      [String(port), String(port)],
      'the program believes to listen at its own address',
    );
    const newStart = starts[1]?.[1] ?? '';
    await eventually(
      () => {
        const last = load.answers.slice(-200);
        return last.length === 200 && last.every((text) => text.startsWith(newStart)) ? true : undefined;
      },
      'answers of the new start alone',
      60_000,
    );
    await load.end();
    assert.deepEqual(load.errors, []);
    let last: unknown;
    const { workers, mold, totals } = await eventually(
      async () => {
        const status = await statusOf(person);
        last = [status.totals, status.workers];
        // Workers tell now and then how many requests they have served.
        const isCounted = status.totals.requests >= load.answers.length;
        return isCounted && status.workers.every(({ pid }) => pid !== null) ? status : undefined;
      },
      () =>
        `the pids of all workers, and ${load.answers.length} requests counted of ${JSON.stringify(last)},`,
    );
    assert.equal(mold?.release, 1);
    assert.deepEqual([totals.reforks >= 1, totals.reloads], [true, 1]);
    const pids = (await living(person)).map(({ hostPid }) => hostPid);
    const unknown = workers.filter(({ pid, state }) => state === 'ready' && !pids.includes(pid));
    assert.deepEqual(unknown, []);
    assert.ok(
      new Set(load.answers).size > 3,
      'several workers have answered, each with an identity of its own',
    );

    // With nobody else there, a worker that is killed is missed by nobody but its own requests.
    const [victim] = await living(person);
    assert.ok(typeof victim?.hostPid === 'number');
    process.kill(victim.hostPid, 'SIGKILL');
    await eventually(
      async () => {
        const runs = await living(person);
        return runs.length === 3 && runs.every(({ id }) => id !== victim.id) ? true : undefined;
      },
      'a new worker',
      60_000,
    );
    const ended = await running.stop('SIGTERM');
    assert.equal(ended.code, 0);
    assert.deepEqual(await living(person), []);
    assert.deepEqual(readdirSync(join(person.home, 'serve')), []);
  });

  test('leaves no process behind when it is killed: workers answer what they have and end, and its next start waits for them', async () => {
    const port = await freePort();
    const going = join(person.scratch, 'go');
    const program = write(
      person,
      'patient.cjs',
      `const { existsSync } = require('node:fs');
require('node:http').createServer((request, response) => {
  if (request.url === '/') return response.end('at once');
  response.write('begun ');
  // Its event loop stands still, without a processor.
  if (request.url === '/block') return setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
  setInterval(() => existsSync(${JSON.stringify(going)}) && response.end('ended'), 20);
}).listen(Number(process.env.PORT), '127.0.0.1');
`,
    );
    const running = serve(person, port, ['--workers', '2', '--log', 'prefix'], program);
    await running.output(/^2 workers serve/m, 60_000);
    const launchers = await launchersOf(person);
    const waiting = await slowly(port, '/wait');
    await running.stop('SIGKILL');
    assert.equal(readdirSync(join(person.home, 'serve')).length, 1);
    const successor = serve(person, port, ['--workers', '1'], program);
    write(person, 'go', '');
    assert.equal(await waiting.rest, 'begun ended');
    await gone(launchers, 'the workers');
    await successor.output(/^1 worker serves/m, 60_000);
    assert.match(successor.stderr, /made from an earlier start/);
    assert.equal(await fetchText(port), 'at once');

    // One that cannot hear holds the address until its launcher kills it; nobody else does.
    const deaf = await launchersOf(person);
    const cut = (await slowly(port, '/block')).rest.catch(() => 'cut');
    await successor.stop('SIGKILL');
    const third = serve(person, port, ['--workers', '1'], program);
    await third.output(/^1 worker serves/m, 60_000);
    await gone(deaf, 'the worker that stood still');
    assert.equal(await cut, 'cut');
    assert.doesNotMatch(third.stderr, /EADDRINUSE/);
    assert.equal((await third.stop('SIGTERM')).code, 0);
    assert.deepEqual(readdirSync(join(person.home, 'serve')), []);

    // The address is free again, unless somebody else takes it; then the server says so and ends.
    const taken = createServer().listen(port, '127.0.0.1');
    const refused = await serve(person, port, [], program).end();
    await new Promise((resolve) => taken.close(resolve));
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, new RegExp(`cannot listen at 127.0.0.1:${port}: EADDRINUSE`));
    assert.deepEqual(readdirSync(join(person.home, 'serve')), []);
  });
});
