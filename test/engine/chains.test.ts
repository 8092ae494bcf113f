import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { bundle, compileDynamic, compilePreload } from './build.ts';
import { digestOf } from './image-digest.ts';
import { ERRORS, isFullWalk, REFUSALS, stepsFrom } from './fault-walk.ts';
import { changeOf, detach, digested, logged, revive } from './pods.ts';

/** What flatten-steps.ts tells of one attempt. */
interface Attempt {
  readonly struck: boolean;
  readonly error: string | null;
  readonly digest: string;
  readonly beside: number;
}

describe('a chain of images', () => {
  let person: Person;
  let program: string;
  before(async () => {
    person = createPerson();
    program = join(person.scratch, 'chain');
    await compileDynamic(programPath('c/chain.c'), program);
  });
  after(async () => await person.leave());

  /** Makes an image of the second generation, and returns its path and what the program held. */
  async function twoGenerations(name: string): Promise<{ image: string; held: string }> {
    const id = await detach(person, [program, '2', '20']);
    await logged(person, id, /^up$/m);
    await person.json(['checkpoint', id, `./${name}-0`, '--stop']);
    const next = await revive(person, `./${name}-0`);
    const held = await changeOf(person, next);
    await person.json(['checkpoint', next, `./${name}-1`, '--stop']);
    return { image: join(person.scratch, `${name}-1`), held };
  }

  test('is flattened on request: fewer pages to copy, the same memory, and the base may go', async () => {
    const { image, held } = await twoGenerations('asked');
    await digested(image);
    const flat = (await person.json(['flatten', image])) as Record<
      'before' | 'after',
      { mappings: number; copiedPages: number }
    >;
    assert.ok(flat.before.copiedPages - flat.after.copiedPages > 50, JSON.stringify(flat));
    assert.equal(readdirSync(join(image, 'layers')).length, 1);
    rmSync(join(person.scratch, 'asked-0'), { recursive: true });
    assert.equal(await changeOf(person, await revive(person, image), false), held);
  });

  test('has digests as soon as it was flattened, also one that had none; a damaged one is refused', async () => {
    const { image } = await twoGenerations('proven');
    await digested(image);
    const verified = async (): Promise<unknown> => {
      const [found] = (await person.json(['verify', image])) as {
        hasDigests: boolean;
        problems: unknown[];
      }[];
      return [found?.hasDigests, found?.problems];
    };
    await person.json(['flatten', image]);
    assert.deepEqual(await verified(), [true, []]);
    rmSync(join(image, 'digests.json'));
    await person.json(['flatten', image]);
    assert.deepEqual(await verified(), [true, []]);
    const [layer = ''] = readdirSync(join(image, 'layers'));
    const file = join(image, 'layers', layer);
    const bytes = readFileSync(file);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    const { code, stderr } = await person.finish(['flatten', image]);
    assert.equal(code, 1, stderr);
    assert.match(
      stderr,
      new RegExp(`layers/${layer} of .* has other content .*\nHint: .*verify --repair`, 'is'),
    );
    assert.deepEqual(readdirSync(join(image, 'layers')), [layer]);
  });

  test('is flattened by itself when the next restore would copy too much, and a program that ends does not wait for it', async () => {
    const id = await detach(person, [program, '32', '75']);
    await logged(person, id, /^up$/m);
    await person.json(['checkpoint', id, './self-0', '--stop']);
    const next = await revive(person, './self-0');
    const held = await changeOf(person, next);
    const image = join(person.scratch, 'self-1');
    // The second request comes while the first image is being flattened, or shortly before: it is not kept waiting.
    await person.json(['checkpoint', next, image, '--no-sync']);
    await person.json(['checkpoint', next, './self-2', '--no-sync', '--stop']);
    const layers = () => readdirSync(join(person.scratch, 'self-2/layers')).length;
    await eventually(() => (layers() === 1 ? true : undefined), 'a flat image behind the end of the program');
    for (const one of [image, './self-2'])
      assert.equal(await changeOf(person, await revive(person, one), false), held, one);
    await eventually(
      () => (readdirSync(person.scratch).some((name) => name.endsWith('.tmp')) ? undefined : true),
      'nothing being left beside the images',
    );
  });

  test('killed or refused at any step of flattening, the image is the old one or the new one, and whole', async (context) => {
    const { image, held } = await twoGenerations('faults');
    const faults = join(person.scratch, 'faults.so');
    await compilePreload(programPath('c/faults.c'), faults);
    await digested(image);
    const old = digestOf(image);
    const steps = join(person.scratch, 'steps.mjs');
    await bundle('flatten-steps.ts', steps);
    const work = join(person.scratch, 'work');
    const walk = async (kind: (typeof ERRORS)[number] | 'kill', at: number) => {
      const words = [nodeBinary(24), steps, work, image, join(person.home, 'engine/native/current/launcher')];
      const faulty = { LD_PRELOAD: faults, FAULT_DIR: `${work}/`, FAULT_LOG: `${work}.struck` };
      const own = { FAULT_STRIDE: String(REFUSALS.stride), NODE_COMPILE_CACHE: `${work}.cache` };
      const env = { ...faulty, ...own, FAULT_KIND: kind, FAULT_AT: String(at) };
      const { code, signal, stdout, stderr } = await person.start(words, { env }).end();
      if (signal === 'SIGKILL' && kind === 'kill') return null;
      assert.equal(code, 0, stderr);
      return JSON.parse(stdout) as Attempt[];
    };
    const [without] = (await walk('kill', 9_999)) ?? [];
    const flat = without?.digest ?? '';
    const seen = new Set<string>();
    for (const kind of ERRORS) {
      const refused = (await walk(kind, REFUSALS.first)) ?? [];
      for (const [index, { struck, error, digest, beside }] of refused.entries()) {
        const step = REFUSALS.first + index * REFUSALS.stride;
        assert.ok(digest === old || digest === flat, `${kind} at step ${step}: something else is left`);
        assert.ok(!struck || error !== null, `nobody heard of ${kind} at step ${step}`);
        assert.equal(beside, 0, `${kind} at step ${step}: ${error}`);
        seen.add(digest);
      }
      context.diagnostic(`${kind}: ${refused.length - 1} steps from ${REFUSALS.first} on`);
      assert.ok(refused.length > 10 / REFUSALS.stride, `${kind} has ${refused.length} steps`);
    }
    const kills = await stepsFrom(async (step) => {
      if ((await walk('kill', step)) !== null) return false;
      const digest = digestOf(join(work, 'image'));
      assert.ok(digest === old || digest === flat, `killed at step ${step} it is something else`);
      seen.add(digest);
      return true;
    });
    context.diagnostic(`killed at ${kills} steps`);
    assert.ok(kills > (isFullWalk ? 30 : 2), `killed at ${kills} steps`);
    const target = join(work, 'image');
    assert.notEqual(await walk('kill', 9_999), null);
    assert.deepEqual(seen, new Set([old, flat]));
    assert.equal(digestOf(target), flat);
    for (const whole of [image, target])
      assert.equal(await changeOf(person, await revive(person, whole), false), held, whole);
  });
});
