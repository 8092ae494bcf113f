// The definition of a client: every client goes through the same steps, and one table tells how. `npm run conformance` runs this
// file alone; conformance/README.md says what a subject is, for who writes another client.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { clients } from './clients.ts';
import type { Client } from './clients.ts';
import { logged, logOf } from '../engine/pods.ts';

const LIMIT = { timeoutMs: 120_000 };

/** What a step works with. */
interface Stage {
  readonly person: Person;
  readonly client: Client;
  /** Runs the subject in a pod to its end and returns what it printed. */
  readonly run: (...words: string[]) => Promise<string>;
  /** Has a scenario that ends in an image run once, for whichever step comes first; returns what it printed. */
  readonly image: (scenario: string) => Promise<string>;
  /** Restores an image to its end and returns what it printed. */
  readonly restore: (image: string, ...words: string[]) => Promise<string>;
  /** A path in the person's scratch directory that only this client uses. */
  readonly place: (name: string) => string;
}

const lines = (...all: string[]): string => all.map((line) => `${line}\n`).join('');

async function hooks({ image, restore, place }: Stage): Promise<void> {
  assert.equal(await image('hooks'), lines('before c', 'before b', 'before a'));
  assert.equal(
    await restore(place('hooks'), '--env', 'FLAVOUR=mint', '--', 'x', 'y'),
    lines('after a', 'after b', 'after c', 'restored x,y mint'),
  );
  assert.equal(await restore(place('hooks')), lines('after a', 'after b', 'after c', 'restored  -'));
}

async function failingBefore({ person, run, place }: Stage): Promise<void> {
  const said = ['before b', 'before a', 'after a', 'after b', 'failed ERR_FORKPOINT_HOOK boom', 'alive'];
  assert.equal(await run('before', place('before')), lines(...said));
  assert.equal(existsSync(join(person.scratch, place('before'))), false);
}

async function failingAfter({ person, run, place }: Stage): Promise<void> {
  const said = ['before b', 'before a', 'after a', 'after b', 'failed ERR_FORKPOINT_HOOK boom', 'alive'];
  assert.equal(await run('after', place('after')), lines(...said));
  assert.equal(existsSync(join(person.scratch, place('after'), 'manifest.json')), true);
}

async function failingDump({ person, run, place }: Stage): Promise<void> {
  writeFileSync(join(person.scratch, place('file')), '');
  const said = await run('dump', `${place('file')}/below`, place('dump'));
  assert.match(said, /^failed ERR_FORKPOINT_[A-Z_]+ -\nalive\nbefore a\nafter a\ncontinued\n$/);
}

async function nested({ run, place }: Stage): Promise<void> {
  assert.equal(await run('nested', place('nested')), lines('failed ERR_FORKPOINT_NESTED -', 'continued'));
}

async function chain({ run, restore, place }: Stage): Promise<void> {
  assert.equal(await run('chain', `${place('chain')}-%g`), '');
  for (let generation = 1; generation <= 5; generation++) {
    const said = await restore(`${place('chain')}-${generation}`);
    assert.equal(said, lines(`generation ${generation} count ${generation}`));
  }
}

async function destinations({ person, client, place }: Stage): Promise<void> {
  const absolute = join(person.scratch, place('absolute'));
  const words = [
    'run',
    '--to',
    place('default'),
    '--',
    ...client.subject,
    'destinations',
    place('relative'),
    absolute,
  ];
  const { code, stdout, stderr } = await person.finish(words, LIMIT);
  const at = (name: string): string => join(person.scratch, place(name));
  const said = ['relative', 'absolute', 'default'].map((name) => `continued ${at(name)}`);
  assert.deepEqual([code, stdout], [0, lines(...said)], stderr);
  // What is asked for after a restore goes where the restore says.
  const restored = await person.finish(['restore', place('absolute'), '--to', place('later')], LIMIT);
  assert.equal(restored.stdout, lines(`restored ${absolute}`, `continued ${at('later')}`), restored.stderr);
}

async function outside({ person, client, place }: Stage): Promise<void> {
  const run = (await person.json(['run', '-d', '--', ...client.subject, 'outside'], LIMIT)) as { id: string };
  await logged(person, run.id, /^up$/m, 60_000);
  const taken = await person.finish(['checkpoint', run.id, place('outside'), '--stop'], LIMIT);
  assert.equal(taken.code, 0, taken.stderr);
  // A newer JVM than JRuby knows of warns first of what JRuby does.
  const said = logOf(person, run.id).replace(/^(WARNING: .*\n)+\n?/, '');
  assert.equal(said, lines('up', 'before a'));
  const restored = await person.finish(['restore', place('outside'), '--', 'end'], LIMIT);
  assert.deepEqual([restored.code, restored.stdout], [0, lines('after a', 'end')], restored.stderr);
}

async function unique({ image, restore, place }: Stage): Promise<void> {
  await image('unique');
  const tokens = (text: string, kind: string): string[] =>
    text.split('\n').filter((line) => line.startsWith(kind));
  const clones = await Promise.all([restore(place('unique')), restore(place('unique'))]);
  for (const kind of ['token', 'strong']) {
    const drawn = clones.flatMap((clone) => tokens(clone, kind));
    assert.equal(drawn.length, kind === 'token' ? 40 : 4);
    assert.equal(new Set(drawn).size, drawn.length);
  }
  // That they differ is our doing: told not to, both draw the same.
  const [one, two] = [
    await restore(place('unique'), '--no-reseed'),
    await restore(place('unique'), '--no-reseed'),
  ];
  assert.deepEqual(tokens(one, 'token'), tokens(two, 'token'));
}

async function parked({ person, image, place }: Stage): Promise<void> {
  const two = async (name: string): Promise<string[]> => {
    await image(name);
    const words = [nodeBinary(24), programPath('pooling.mjs'), 'client', join(person.scratch, place(name))];
    const { code, stdout, stderr } = await person.start(words, LIMIT).end();
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^parked \[true,true\]$/m, stdout);
    return JSON.parse(/^said (.*)$/m.exec(stdout)?.[1] ?? '[]') as string[];
  };
  const said = lines('after a', 'after b', 'after c', 'restored x,y mint');
  assert.deepEqual(await two('hooks'), [said, said]);
  const drawn = (await two('unique')).flatMap((text) => text.trim().split('\n'));
  assert.equal(drawn.length, 44);
  assert.equal(new Set(drawn).size, 44);
}

async function forks({ run }: Stage): Promise<void> {
  const said = (await run('fork')).trim().split('\n');
  const drawn = said.filter((line) => line.startsWith('child'));
  assert.deepEqual(
    drawn.map((line) => Number(line.split(' ')[1])).toSorted((a, b) => a - b),
    [0, 0, 1, 2],
    said.join('\n'),
  );
  assert.equal(new Set(drawn.map((line) => line.split(' ')[2])).size, 4, 'each draws its own number');
  // The second fork comes when the children of the first have ended.
  assert.deepEqual(
    said.filter((line) => line.startsWith('ended')),
    ['ended 10,11,12', 'ended 10'],
  );
  const hooks = said.filter((line) => /^(before|after)/.test(line)).toSorted();
  const after = Array.from({ length: 6 }, () => 'after a');
  assert.deepEqual(hooks, [...after, 'before a', 'before a'], 'in the parent and in each child');
}

async function withoutPod({ person, client, place }: Stage): Promise<void> {
  const { code, stdout, stderr } = await person
    .start(['env', ...client.outside, ...client.subject, 'alone', place('alone')], {
      ...LIMIT,
      env: { FORKPOINT_DIR: undefined },
    })
    .end();
  assert.deepEqual(
    [code, stdout],
    [0, lines('implemented false', 'failed ERR_FORKPOINT_NO_RUNTIME -')],
    stderr,
  );
}

const STEPS: readonly (readonly [string, (stage: Stage) => Promise<void>])[] = [
  ['hooks run in their order, and a restore gives arguments and environment', hooks],
  ['a failing before hook makes no image, all hooks run, the program goes on', failingBefore],
  ['a failing after hook is told, the others run, the image is there', failingAfter],
  ['a checkpoint that fails is told by its code, the next one succeeds', failingDump],
  ['a request from a hook is refused', nested],
  ['five generations, each in a directory of its own', chain],
  ['relative, absolute and default destinations, and the one of a restore', destinations],
  ['a checkpoint asked for from outside runs the hooks', outside],
  ['clones draw different numbers, and the same ones with --no-reseed', unique],
  [
    'a clone that stands ready in a pool is handed over with arguments, variables and its own numbers',
    parked,
  ],
  ['three children, then another one, each with its own numbers and its true exit code', forks],
  ['outside a pod it registers, and says that there is no runtime', withoutPod],
];

const wanted = process.env['FORKPOINT_CONFORMANCE_CLIENT'];
const succeeded = new Set<string>();

const subjects = clients().filter(({ name }) => wanted === undefined || wanted === name);

// Two clients at a time: each waits for the start of its runtime most of the time.
describe('every client', { concurrency: 2 }, () => {
  for (const client of subjects) {
    describe(`client ${client.name}`, () => {
      let person: Person;
      const images = new Map<string, Promise<string>>();
      before(() => {
        person = createPerson();
      });
      after(async () => await person.leave());
      for (const [name, step] of STEPS) {
        test(`${client.name}: ${name}`, async () => {
          await step(stageOf(person, client, images));
          succeeded.add(`${client.name}: ${name}`);
        });
      }
    });
  }
});

function stageOf(person: Person, client: Client, images: Map<string, Promise<string>>): Stage {
  const end = async (words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await person.finish(words, LIMIT);
    assert.equal(code, 0, `${words.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  };
  const run = (...words: string[]): Promise<string> => end(['run', '--', ...client.subject, ...words]);
  const place = (name: string): string => `./${client.name.replaceAll(/\W/g, '')}-${name}`;
  return {
    person,
    client,
    run,
    image: (scenario) => {
      const taken = images.get(scenario) ?? run(scenario, place(scenario));
      images.set(scenario, taken);
      return taken;
    },
    restore: (image, ...words) => end(['restore', image, ...words]),
    place,
  };
}

after(() => {
  const names = subjects.map(({ name }) => name);
  const width = Math.max(...STEPS.map(([name]) => name.length));
  console.log(`\n${' '.repeat(width)}  ${names.join('  ')}`);
  for (const [name] of STEPS) {
    const marks = names.map((client) =>
      (succeeded.has(`${client}: ${name}`) ? 'yes' : 'no').padEnd(client.length),
    );
    console.log(`${name.padEnd(width)}  ${marks.join('  ')}`);
  }
});
