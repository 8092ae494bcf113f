import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, root } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import type { Started } from '../engine/helpers.ts';
import { logged } from '../engine/pods.ts';
import { language } from './clients.ts';

const LIMIT = { timeoutMs: 120_000 };
const JAR = join(root, '.forkpoint/languages/spring/target/app.jar');

describe('an unmodified Spring Boot application on a stock JDK', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  const app = (...flags: string[]): string[] => [language('java'), '-XX:+UseSerialGC', ...flags, '-jar', JAR];

  test('is checkpointed on refresh and opens its port in the restored program', async () => {
    const flags = [
      '-XX:CRaCCheckpointTo=refreshed',
      '-Dspring.context.checkpoint=onRefresh',
      '-Dserver.port=0',
    ];
    const taken = await person.finish(['run', '--', ...app(...flags)], LIMIT);
    assert.equal(taken.code, 0, taken.stdout + taken.stderr);
    const run = (await person.json(['restore', './refreshed', '-d'], LIMIT)) as Started;
    const [, port] = await logged(person, run.id, /Tomcat started on port (\d+)/, 60_000);
    assert.match(await fetchText(Number(port), '/'), /^1 0\.\d+/);
  });

  test('is checkpointed by command when it is warm; three live clones answer, each at an address of its own', async () => {
    const flags = ['-Dforkpoint.hooks=off', '-Dserver.port=0'];
    const run = (await person.json(['run', '-d', '--', ...app(...flags)], LIMIT)) as Started;
    const [, port] = await logged(person, run.id, /Tomcat started on port (\d+)/, 60_000);
    for (let hit = 1; hit <= 50; hit++)
      assert.match(await fetchText(Number(port), '/'), new RegExp(`^${hit} `));
    const taken = await person.finish(['checkpoint', run.id, './warm', '--stop'], LIMIT);
    assert.equal(taken.code, 0, taken.stderr);
    const listen = `${port}=127.0.0.1:0`;
    const clones = await Promise.all(
      [1, 2, 3].map(
        async () => (await person.json(['restore', './warm', '-d', '--listen', listen], LIMIT)) as Started,
      ),
    );
    const ports = clones.map(({ slots }) => {
      const address = slots.find(({ id }) => id.includes(String(port)))?.address ?? '';
      return Number(address.slice(address.lastIndexOf(':') + 1));
    });
    const ask = async (hit: number): Promise<string[]> =>
      await Promise.all(
        ports.map(async (own) => {
          const answer = await eventually(
            async () => await fetchText(own, '/').catch(() => undefined),
            'an answer',
          );
          assert.match(answer, new RegExp(`^${hit} `));
          return answer;
        }),
      );
    // The other threads of a JVM may draw before its randomness is renewed (docs/clones-java.md); from then on each draws its own.
    let hit = 51;
    await eventually(
      async () => (new Set(await ask(hit++)).size === 3 ? true : undefined),
      'numbers of their own',
    );
  });
});
