import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, root, runToEnd } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';

const APP = `import { Core } from 'forkpoint';
console.log('implemented ' + Core.isImplemented());
if (Core.isImplemented()) {
  const context = await Core.checkpointRestore('./image');
  console.log('restored ' + JSON.stringify(context.args));
}
`;
const COMMON = `const { Core } = require('forkpoint');
import('forkpoint').then((library) => console.log('one state ' + (library.Core === Core)));
`;

describe('the published package', () => {
  let person: Person;
  let project: string;

  before(async () => {
    person = createPerson();
    project = join(person.scratch, 'project');
    const made = await person.start(['mkdir', project]).end();
    assert.equal(made.code, 0);
    const packed = await runToEnd(['npm', 'pack', '--pack-destination', person.scratch], {
      cwd: join(root, 'packages/forkpoint'),
    });
    assert.equal(packed.code, 0, packed.stderr);
    const archive = readdirSync(person.scratch).find((name) => name.endsWith('.tgz'));
    for (const [name, text] of [
      ['package.json', '{"private":true}'],
      ['app.mjs', APP],
      ['common.cjs', COMMON],
    ] as const) {
      const written = await person.start(['tee', join(project, name)], { input: text }).end();
      assert.equal(written.code, 0);
    }
    const flags = ['--offline', '--no-audit', '--no-fund'];
    const installed = await person
      .start(['npm', 'install', ...flags, join(person.scratch, String(archive))], { cwd: project })
      .end();
    assert.equal(installed.code, 0, installed.stderr);
  });
  after(async () => await person.leave());

  const command = (...args: string[]) => [join(project, 'node_modules/.bin/forkpoint'), ...args];

  test('has one state for import and require, and does nothing outside a run', async () => {
    const outside = await person.start(['node', 'app.mjs'], { cwd: project }).end();
    assert.equal(outside.stdout, 'implemented false\n');
    const common = await person.start(['node', 'common.cjs'], { cwd: project }).end();
    assert.equal(common.stdout, 'one state true\n');
  });

  test('brings the command, and an image starts by itself', async () => {
    const run = await person.start(command('run', '--', 'node', 'app.mjs'), { cwd: project }).end();
    assert.deepEqual([run.code, run.stdout], [0, 'implemented true\n'], run.stderr);
    const restored = await person.start(command('restore', './image', '--', 'a b'), { cwd: project }).end();
    assert.deepEqual([restored.code, restored.stdout], [0, 'restored ["a b"]\n'], restored.stderr);
    const alone = await person.start([join(project, 'image/restore'), 'c'], { cwd: '/' }).end();
    assert.deepEqual([alone.code, alone.stdout], [0, 'restored ["c"]\n'], alone.stderr);
  });
});
