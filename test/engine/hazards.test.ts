import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { APART, buildHazards, hazardNames } from './hazards.ts';

const VARIANTS: readonly (readonly [name: string, env: Readonly<Record<string, string>>])[] = [
  ['not linked', { HAZARDS_PLAIN: '1' }],
  ['linked from 8 pages on', { FORKPOINT_LINK_THRESHOLD: '8' }],
  ['linked page by page', { FORKPOINT_LINK_THRESHOLD: '1' }],
];

describe('what linking must not disturb, over two generations', () => {
  let person: Person;
  let program: string;

  before(async () => {
    person = createPerson();
    program = await buildHazards(person, 'hazards');
  });
  after(async () => await person.leave());

  for (const [name, env] of VARIANTS) {
    test(`${name}: every page, descriptor, timer and signal is as the program left it`, async () => {
      await twoGenerations(
        name,
        env,
        hazardNames().filter((one) => !APART.includes(one)),
      );
      await twoGenerations(name, env, APART);
    });
  }

  test('a static program, which no preload reaches: its memory is not linked, and all is as it left it', async () => {
    const own = program;
    program = await buildHazards(person, 'hazards-static', ['-static']);
    try {
      const wanted = ['realloc', 'joined', 'calloc', 'dontneed', 'mremap-grow', 'mremap-move', 'fork'];
      await twoGenerations('static', { FORKPOINT_LINK_THRESHOLD: '1' }, wanted);
    } finally {
      program = own;
    }
    assert.deepEqual(readdirSync(join(person.scratch, 'static-realloc-1/layers')), []);
  });

  async function twoGenerations(
    name: string,
    env: Readonly<Record<string, string>>,
    wanted: readonly string[],
  ) {
    const images = [1, 2].map((k) => join(person.scratch, `${name.replaceAll(' ', '-')}-${wanted[0]}-${k}`));
    const first = await person.finish(['run', '--', program, ...images, ...wanted], { env });
    assert.deepEqual([first.code, first.stdout], [0, ''], first.stderr);
    const second = await person.finish(['restore', String(images[0])], { env });
    assert.deepEqual([second.code, second.stdout], [0, ''], second.stderr);
    const third = await person.finish(['restore', String(images[1])], { env });
    assert.deepEqual([third.code, third.stdout], [0, 'ok\n'], third.stderr);
  }
});
