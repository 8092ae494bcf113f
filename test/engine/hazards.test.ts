import assert from 'node:assert/strict';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findCompiler } from '@forkpoint/engine';
import { createPerson, programPath, runToEnd } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';

const VARIANTS: readonly (readonly [name: string, env: Readonly<Record<string, string>>])[] = [
  ['not linked', { HAZARDS_PLAIN: '1' }],
  ['linked from 8 pages on', { FORKPOINT_LINK_THRESHOLD: '8' }],
  ['linked page by page', { FORKPOINT_LINK_THRESHOLD: '1' }],
];

describe('memory that linking must not disturb, over two generations', () => {
  let person: Person;
  let program: string;

  before(async () => {
    person = createPerson();
    program = join(person.scratch, 'hazards');
    const source = programPath('c/hazards.c');
    // Dynamically linked, so that the shim can be preloaded: only then is anonymous memory linked at all.
    const dynamic = await runToEnd(['cc', '-std=gnu11', '-O1', '-pthread', '-o', program, source]).catch(
      () => null,
    );
    if (dynamic?.code !== 0) {
      const options = { env: process.env, log: () => undefined, signal: undefined };
      const compiler = await findCompiler(process.env['FORKPOINT_TEST_ENGINE'] ?? '', 'auto', options);
      const built = await runToEnd(compiler.executable([source], program, false));
      assert.equal(built.code, 0, built.stderr);
    }
    chmodSync(program, 0o755);
  });
  after(async () => await person.leave());

  for (const [name, env] of VARIANTS) {
    test(`${name}: every page is what the program left there`, async () => {
      for (const hazards of [others(), ['brk']]) await twoGenerations(name, env, hazards);
    });
  }

  // The program's brk(2) and glibc's malloc work on the same heap: each has a process of its own.
  function others(): string[] {
    const table = readFileSync(programPath('c/hazards.c'), 'utf8').matchAll(/^ {4}\{"([a-z-]+)", /gm);
    return [...table].map((match) => String(match[1])).filter((hazard) => hazard !== 'brk');
  }

  async function twoGenerations(
    name: string,
    env: Readonly<Record<string, string>>,
    hazards: readonly string[],
  ) {
    const images = [1, 2].map((k) => join(person.scratch, `${name.replaceAll(' ', '-')}-${hazards[0]}-${k}`));
    const first = await person.finish(['run', '--', program, ...images, ...hazards], { env });
    assert.deepEqual([first.code, first.stdout], [0, ''], first.stderr);
    const second = await person.finish(['restore', String(images[0])], { env });
    assert.deepEqual([second.code, second.stdout], [0, ''], second.stderr);
    const third = await person.finish(['restore', String(images[1])], { env });
    assert.deepEqual([third.code, third.stdout], [0, 'ok\n'], third.stderr);
  }
});
