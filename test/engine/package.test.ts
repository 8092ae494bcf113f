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
const HOST = `import * as host from 'forkpoint/host';
import { createRequire } from 'node:module';
const common = createRequire(import.meta.url)('forkpoint/host');
const same = Object.keys(host).filter((name) => name !== 'default' && host[name] !== common[name]);
const names = Object.keys(host).sort();
const { images } = await host.list({ directory: '.', labels: { app: 'shop' } });
const image = await host.openImage('./image');
const steps = new Set();
const onProgress = ({ step, doneBytes, totalBytes }) => steps.add(step + (doneBytes <= totalBytes ? '' : ' too much'));
const packed = await image.compress({ onProgress });
const inspected = await image.inspect({ onProgress });
const compared = await image.diff('./image', { onProgress });
const plain = await image.decompress({ onProgress });
const flat = await image.flatten({ to: './flat', onProgress });
const verified = await host.verify('./flat', { record: true, onProgress });
const refused = await host.inspect('./nothing').catch((error) => error);
const aborted = [];
for (const work of [host.compress, host.verify, host.flatten])
  aborted.push(await work('./image', { signal: AbortSignal.abort(new Error('enough')) }).catch((error) => error.message));
const { readdirSync } = await import('node:fs');
console.log(JSON.stringify({ same, names, images, inspected, compared, verified, aborted, steps: [...steps],
  packed: [packed.isChanged, packed.storedBytes < packed.rawBytes], plain: plain.isChanged, layers: image.manifest.layers,
  flat: [flat.manifest.id === image.id, flat.after.mappings <= flat.before.mappings], refused: [refused.code, typeof refused.hint],
  left: readdirSync('.').filter((name) => name.startsWith('.')) }));
`;
const TYPED = `import { flatten, list, openImage } from 'forkpoint/host';
import type { Progress, VerifyResult } from 'forkpoint/host';
export async function use(signal: AbortSignal): Promise<VerifyResult> {
  const { images } = await list({ labels: { app: 'shop' } });
  const image = await openImage(images[0]?.path ?? 'warm');
  await flatten(image.path, { signal, onProgress: ({ doneBytes, leftMs }: Progress): void => console.log(doneBytes, leftMs) });
  return await image.verify({ repair: true });
}
// @ts-expect-error a path is needed
openImage();
`;

describe('the published package', () => {
  let person: Person;
  let project: string;

  before(async () => {
    person = createPerson('ordinary', { node: undefined });
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
      ['host.mjs', HOST],
      ['typed.mts', TYPED],
      ['typed.cts', TYPED],
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

  test('has a library for images from outside: the same by import and require, and what the command line says', async () => {
    const told = await person.start(['node', 'host.mjs'], { cwd: project }).end();
    assert.equal(told.code, 0, told.stderr);
    const found = JSON.parse(told.stdout) as Record<string, unknown> & {
      inspected: { manifest: object; areas: unknown[]; descriptors: unknown[] };
      steps: string[];
      verified: { hasDigests: boolean; problems: unknown[]; bytes: number };
    };
    assert.deepEqual(found.same, []);
    const functions = [
      'compress',
      'createPool',
      'decompress',
      'diff',
      'flatten',
      'inspect',
      'list',
      'openImage',
      'upgrade',
      'verify',
    ];
    assert.deepEqual(found.names, functions);
    assert.deepEqual(found.images, [], 'none has the label');
    assert.deepEqual([found.packed, found.plain], [[true, true], true]);
    const [shown, listed] = await Promise.all(
      [
        ['inspect', './image'],
        ['diff', './image', './image'],
      ].map(async (words) => {
        const { stdout } = await person.start(command(...words, '--json'), { cwd: project }).end();
        return JSON.parse(stdout) as Record<string, unknown>;
      }),
    );
    assert.deepEqual(
      [shown?.['areas'], shown?.['descriptors']],
      [found.inspected.areas, found.inspected.descriptors],
    );
    assert.deepEqual(listed, found.compared);
    assert.deepEqual(shown?.['layers'], found.layers);
    assert.deepEqual(found.flat, [true, true]);
    assert.deepEqual([found.verified.hasDigests, found.verified.problems], [true, []]);
    // Unpacking what is compressed is told of only where it takes longer than a moment.
    const steps = found.steps.filter((step) => step !== 'unpack');
    assert.deepEqual(steps, ['compress', 'compare', 'decompress', 'plan', 'read', 'copy', 'publish']);
    assert.deepEqual(found.aborted, ['enough', 'enough', 'enough']);
    assert.deepEqual(found.refused, ['ERR_FORKPOINT_IMAGE_NOT_FOUND', 'string']);
    assert.deepEqual(found.left, []);
  });

  test('has types for both kinds of module, in which no private package shows', async () => {
    const tsc = join(root, 'node_modules/.bin/tsc');
    const flags = [
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2023',
      '--exactOptionalPropertyTypes',
    ];
    const types = ['--typeRoots', join(root, 'node_modules/@types'), '--types', 'node'];
    const checked = await runToEnd([tsc, ...flags, ...types, 'typed.mts', 'typed.cts'], { cwd: project });
    assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  });
});
