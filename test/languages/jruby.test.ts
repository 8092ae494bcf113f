import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, programPath } from '@forkpoint/testkit';
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

describe('a vendor’s image of JRuby', () => {
  /** Only root can be somebody else here; for others the vendor is themselves, with a data directory of its own. */
  const isRoot = process.getuid?.() === 0;
  let vendor: Person;
  let user: Person;
  let shop = '';
  before(() => {
    vendor = createPerson(isRoot ? 'root' : 'ordinary');
    user = createPerson();
    shop = mkdtempSync(join(tmpdir(), 'fp-shop-'));
    // What a vendor grants besides: its data directory, and the working directory of the base.
    for (const directory of [shop, vendor.home, vendor.scratch]) chmodSync(directory, 0o755);
    const gems = join(user.scratch, 'gems');
    mkdirSync(gems);
    const write = (name: string, ...lines: string[]): void =>
      writeFileSync(join(user.scratch, name), `${lines.join('\n')}\n`);
    write(
      'gems/greeting.rb',
      'module Greeting',
      '  @count = 0',
      '  class << self; attr_accessor :count; end',
      '  def self.to(name) = "hello #{name} #{self.count += 1}"',
      'end',
    );
    write('gems/shouting.rb', 'require "greeting"', 'def shout(name) = Greeting.to(name).upcase');
    write('gems.rb', `$LOAD_PATH << '${gems}'`, 'require "greeting"', '500.times { Greeting.to("you") }');
    write('more.rb', 'require "shouting"', '100.times { shout("you") }');
    write('other.rb', 'puts [defined?(shout) ? shout($words[0]) : Greeting.to($words[0])]', 'exit 3');
  });
  after(async () => {
    await user.leave();
    await vendor.leave();
    // What was granted may not be written, by its owner either.
    assert.equal(spawnSync('chmod', ['-R', 'u+w', shop]).status, 0);
    rmSync(shop, { recursive: true, force: true });
  });

  const succeed = async (person: Person, words: readonly string[]): Promise<void> => {
    const { code, stdout, stderr } = await person.finish(words, LIMIT);
    assert.equal(code, 0, stdout + stderr);
  };
  /** Grants everybody to read an image, and nobody to write it. */
  const grant = (image: string): void =>
    assert.equal(spawnSync('chmod', ['-R', 'a+rX,a-w', image]).status, 0);

  /** From the user's first image on. */
  async function improve(name: string): Promise<void> {
    const run = async (image: string): Promise<unknown[]> => {
      const { code, stdout, stderr } = await user.finish(
        ['restore', image, '--', join(user.scratch, 'other.rb'), 'Ada'],
        LIMIT,
      );
      return [code, stdout, stderr];
    };
    assert.deepEqual(await run(`./${name}`), [3, 'hello Ada 501\n', '']);
    await succeed(user, ['restore', `./${name}`, '--to', `./${name}-2`, '--', join(user.scratch, 'more.rb')]);
    assert.deepEqual(await run(`./${name}-2`), [3, 'HELLO ADA 601\n', '']);
    assert.deepEqual(await run(`./${name}`), [3, 'hello Ada 501\n', ''], 'the image before is what it was');
  }

  test('of JRuby 9.4 gets a user’s gems and load pattern, and so does what comes of it', async () => {
    const base = join(shop, 'base-9');
    await succeed(vendor, ['run', '--', language('jruby'), programPath('languages/base.rb'), base]);
    grant(base);
    await succeed(user, ['restore', base, '--to', './nine', '--', join(user.scratch, 'gems.rb')]);
    await improve('nine');
  });

  test('of JRuby 10, taken by its own --checkpoint, gets them by its own --restore', async () => {
    const base = join(shop, 'base-10');
    await succeed(vendor, ['run', '--', language('jruby10'), `--checkpoint=${base}`]);
    grant(base);
    const words = [
      `--restore=${base}`,
      programPath('languages/base.rb'),
      // Its working directory is the vendor's.
      join(user.scratch, 'ten'),
      join(user.scratch, 'gems.rb'),
    ];
    await succeed(user, ['run', '--', language('jruby10'), ...words]);
    await improve('ten');
  });
});
