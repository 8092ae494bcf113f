// The programs of examples/ in Ruby and Python do what their first lines say.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, root } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { detach, logged } from '../engine/pods.ts';
import { language, pythonPackages } from './clients.ts';

const LIMIT = { timeoutMs: 120_000 };
const example = (name: string): string => join(root, 'examples', name);

describe('programs of other languages that are booted once and forked', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  /** Asks until so many workers have answered; returns one answer of each, by what `name` matches. */
  async function answersOf(port: number, count: number, name: RegExp): Promise<Map<string, string>> {
    const answers = new Map<string, string>();
    return await eventually(async () => {
      const answer = await fetchText(port, '/').catch(() => undefined);
      if (answer !== undefined) answers.set(name.exec(answer)?.[0] ?? answer, answer);
      return answers.size >= count ? answers : undefined;
    }, `answers of ${count} workers`);
  }

  test('Puma serves a Sinatra application in warm workers with all their threads, on one socket', async () => {
    const id = await detach(person, [language('ruby'), example('warm_puma.rb'), '2']);
    const [, port] = await logged(person, id, /^2 warm workers listen at http:\S+:(\d+)$/m, 60_000);
    const answers = await answersOf(Number(port), 2, /^worker \d/);
    assert.deepEqual([...answers.keys()].toSorted(), ['worker 0', 'worker 1']);
    const tokens = new Set([...answers.values()].map((answer) => /token (\S+)/.exec(answer)?.[1]));
    assert.equal(tokens.size, 2);
    // Their counters go on from the warm one's, each for itself.
    for (const answer of answers.values()) assert.ok(Number(/request (\d+)/.exec(answer)?.[1]) > 100, answer);
    assert.equal((await person.finish(['kill', id])).code, 0);
    const [ended] = await logged(person, id, /^ended .*$/m, 60_000);
    assert.equal(ended, 'ended 0 0');
  });

  test('a WSGI server forks warm workers with their threads, and replaces one that is killed', async () => {
    const id = await detach(person, [language('python3'), example('warm_wsgi.py'), '2']);
    const [, port] = await logged(person, id, /^2 warm workers at http:\S+:(\d+)$/m, 60_000);
    const first = await answersOf(Number(port), 2, /^\w+/);
    for (const answer of first.values()) assert.match(answer, / beats True /);
    const victim = [...first.keys()][0] ?? '';
    assert.equal((await person.finish(['kill', victim, '-s', 'KILL'])).code, 0);
    const again = eventually(
      async () => {
        const answer = await fetchText(Number(port), '/').catch(() => '');
        return answer !== '' && !first.has(/^\w+/.exec(answer)?.[0] ?? '') ? answer : undefined;
      },
      'the worker in its place',
      60_000,
    );
    assert.match(await again, / beats True /);
    assert.equal((await person.finish(['kill', id])).code, 0);
    const [ended] = await logged(person, id, /^ended .*$/m, 60_000);
    assert.equal(ended, 'ended 0 0');
  });

  test('an interpreter with numpy and pandas imported is forked for each task, and no task disturbs the next', async () => {
    const tasks = [
      'frame.groupby("shop").sales.sum().to_dict()',
      'frame.drop(columns="sales", inplace=True) or len(frame.columns)',
      'len(frame.columns)',
      'nonsense',
    ];
    const file = join(person.scratch, 'tasks');
    writeFileSync(file, `${tasks.join('\n')}\n`);
    const words = ['run', '--', language('python3'), example('warm_pandas.py'), file];
    const { code, stdout, stderr } = await person.finish(words, {
      ...LIMIT,
      env: { PYTHONPATH: pythonPackages },
    });
    assert.equal(code, 0, stderr);
    assert.equal(
      stdout,
      "{'north': 8, 'south': 4}\n1\n2\nNameError: name 'nonsense' is not defined\n",
      stderr,
    );
  });
});
