import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, fetchText, nodeBinary } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, portOf, restoreAnywhere } from './helpers.ts';
import type { Started } from './helpers.ts';
import { detach, logged, write } from './pods.ts';

const SERVER = `
const { createServer } = require('node:http');
const changes = [];
let hits = 0;
process.on('forkpoint:config-changed', (names) => changes.push(names));
const server = createServer((request, response) =>
  response.end(JSON.stringify({ hits: ++hits, changes, color: process.env.COLOR, cwd: process.cwd(), method: request.method })));
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => console.log('listening on http://127.0.0.1:' + server.address().port));
`;

/** What the server answers. */
interface Told {
  readonly hits: number;
  readonly changes: string[][];
  readonly color?: string;
}

async function fetchOverUnix(socketPath: string): Promise<Told> {
  return await new Promise((resolve, reject) => {
    get({ socketPath, path: '/', agent: false, timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => resolve(parse<Told>(text)));
    }).on('error', reject);
  });
}

for (const node of [20, 24] as const) {
  describe(`a restored server on Node ${node}`, () => {
    let person: Person;
    let image: string;
    let slot: string;
    before(async () => {
      person = createPerson();
      const program = write(person, 'server.cjs', SERVER);
      const run = (await person.json([
        'run',
        '-d',
        '--env',
        'COLOR=red',
        '--',
        nodeBinary(node),
        program,
      ])) as Started;
      await fetchText(await portOf(person, run.id));
      image = join(person.scratch, 'image');
      await person.json(['checkpoint', run.id, '--to', image, '--stop']);
      const { slots } = (await person.json(['inspect', image])) as { slots: { id: string; kind: string }[] };
      slot = slots.find(({ kind }) => kind === 'tcp')?.id ?? '';
    });
    after(async () => await person.leave());

    test('listens on a unix socket in place of its port', async () => {
      const path = join(person.scratch, 'web.sock');
      const run = (await person.json([
        'restore',
        '--from',
        image,
        '-d',
        '--listen',
        `${slot}=unix:${path}`,
      ])) as Started;
      assert.equal(run.slots.find(({ id }) => id === slot)?.address, path);
      assert.ok(statSync(path).isSocket());
      assert.equal((await fetchOverUnix(path)).hits, 2);
      const answers = await Promise.all(Array.from({ length: 20 }, () => fetchOverUnix(path)));
      assert.deepEqual(
        answers.map(({ hits }) => hits).sort((a, b) => a - b),
        Array.from({ length: 20 }, (_, i) => i + 3),
      );
      // A second generation keeps the socket that it was given.
      const second = join(person.scratch, 'second');
      await person.json(['checkpoint', run.id, second, '--stop']);
      await person.json(['restore', second, '-d']);
      assert.equal((await fetchOverUnix(path)).hits, 23);
    });

    test('learns which variables have changed, and only those', async () => {
      const flags = ['--env', 'COLOR=blue', '--env', 'SIZE=7'];
      const { port } = await restoreAnywhere(person, image, { flags });
      const told = parse<Told>(await fetchText(port));
      assert.deepEqual([told.changes, told.color], [[['COLOR', 'SIZE']], 'blue']);
      const same = await restoreAnywhere(person, image, { flags: ['--env', 'COLOR=red'] });
      assert.deepEqual(parse<Told>(await fetchText(same.port)).changes, []);
    });

    test('is warned about a port variable that moves no socket', async () => {
      const { stderr, code } = await person.finish(['restore', image, '-d', '--env', 'PORT=65000']);
      assert.equal(code, 0, stderr);
      assert.match(
        stderr,
        /^Warning: PORT=65000 does not move the program, which listens on 127\.0\.0\.1:\d+ already; use --listen \S+=65000\n/,
      );
    });

    test('shows its score in inspect', async () => {
      const { score } = (await person.json(['inspect', image])) as { score: Record<string, number> };
      for (const name of ['uptimeMs', 'cpuMs', 'residentBytes', 'threads', 'descriptors', 'heapUsedBytes']) {
        assert.ok((score[name] ?? 0) > 0, name);
      }
      assert.equal(score['processes'], 1);
      assert.match(
        (await person.finish(['inspect', image])).stdout,
        /^score +processes 1, uptime .*heapUsed /m,
      );
    });
  });
}

describe('a program that has read a variable when it started', () => {
  test('is warned about when that has another value now, and only then', async () => {
    const person = createPerson();
    try {
      const text = `const color = process.env.COLOR; console.log('up ' + color); setInterval(() => console.log(color), 10);`;
      const program = write(person, 'reader.cjs', text);
      const id = await detach(person, [nodeBinary(24), program], ['--env', 'COLOR=red']);
      await logged(person, id, /^up red$/m);
      const image = join(person.scratch, 'reader');
      await person.json(['checkpoint', id, image, '--stop']);
      const restored = async (...env: string[]): Promise<string> => {
        const flags = env.flatMap((pair) => ['--env', pair]);
        const { code, stderr } = await person.finish(['restore', image, '-d', ...flags]);
        assert.equal(code, 0, stderr);
        return stderr;
      };
      assert.match(
        await restored('COLOR=blue', 'SIZE=7'),
        /^Warning: the program read COLOR when it started.*\n$/,
      );
      assert.equal(await restored('COLOR=red', 'OTHER=1'), '');
    } finally {
      await person.leave();
    }
  });
});

test('a program that ends while CRIU is still finishing ends its run, with its own exit code', async () => {
  const person = createPerson();
  try {
    const source = write(
      person,
      'brief.c',
      '#include <unistd.h>\nint main(void) { while (access("go", F_OK) != 0) usleep(100); _exit(7); }\n',
    );
    const program = join(person.scratch, 'brief');
    const made = await person.start(['cc', '-o', program, source]).end();
    assert.equal(made.code, 0, made.stderr);
    const run = (await person.json(['run', '-d', '--', program])) as Started;
    await person.json(['checkpoint', run.id, './brief-image', '--stop']);
    write(person, 'go', '');
    // Whether it ends before CRIU is a matter of microseconds.
    for (let i = 0; i < 20; i++) {
      const { code, stderr } = await person.finish(['restore', './brief-image'], { timeoutMs: 20_000 });
      assert.equal(code, 7, stderr);
    }
  } finally {
    await person.leave();
  }
});
