import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Finished, Person } from '@forkpoint/testkit';
import { language } from './clients.ts';

const LIMIT = { timeoutMs: 120_000 };

describe('unmodified JRuby 10 on a stock JDK 25', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  const jruby = async (...words: string[]): Promise<Finished> =>
    await person.finish(['run', '--', language('jruby10'), ...words], LIMIT);

  test('its own --checkpoint and --restore run new scripts, with new arguments, to the right exit code', async () => {
    const taken = await jruby('--checkpoint=./ruby');
    assert.equal(taken.code, 0, taken.stdout + taken.stderr);
    const one = await jruby(
      '--restore=./ruby',
      '-e',
      'puts [RUBY_ENGINE, 6 * 7, *ARGV].join(" "); exit 3',
      'x',
      'y z',
    );
    assert.deepEqual([one.code, one.stdout], [3, 'jruby 42 x y z\n'], one.stderr);
    const script = 'require "securerandom"; print SecureRandom.hex';
    const words = ['restore', './ruby', '--main', 'org.jruby.Main', '--', '-e', script];
    const clones = await Promise.all([1, 2].map(() => person.finish(words, LIMIT)));
    assert.match(clones[0]?.stdout ?? '', /^[0-9a-f]{32}$/, clones[0]?.stderr);
    assert.notEqual(clones[0]?.stdout, clones[1]?.stdout);
  });
});
