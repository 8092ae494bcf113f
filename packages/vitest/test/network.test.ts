import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { leavePlaceForUndici, rehearseNetwork, usesNetwork } from '../src/inside/network.ts';
import { differenceOf, lookAtWorld } from '../src/inside/world.ts';

const scratch = mkdtempSync(join(tmpdir(), 'forkpoint-network-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

test('a rehearsal of the network leaves nothing open and nothing changed', async () => {
  await import('node:http');
  assert.ok(usesNetwork());
  // What Node.js makes at the first use is there already.
  lookAtWorld();
  await rehearseNetwork();
  const before = lookAtWorld();
  await rehearseNetwork();
  assert.equal(differenceOf(before, lookAtWorld()), undefined);
  assert.equal(performance.getEntriesByType('resource').length, 0);
});

test('the package undici finds no dispatcher where only Node’s own has been used, and a second copy finds that of the first', async () => {
  const name = Symbol.for('undici.globalDispatcher.1');
  await assert.rejects(fetch('http://127.0.0.1:1/'));
  const nodes: unknown = Reflect.get(globalThis, name);
  assert.notEqual(nodes, undefined);
  leavePlaceForUndici();
  const require = createRequire(join(scratch, 'index.js'));
  // As both do it: whoever comes first stays.
  const text = `const name = Symbol.for('undici.globalDispatcher.1');
exports.found = globalThis[name];
if (globalThis[name] === undefined) globalThis[name] = { own: __filename };`;
  const found = ['first', 'second'].map((copy) => {
    const directory = join(scratch, copy, 'undici/lib');
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'global.js'), text);
    return (require(join(directory, 'global.js')) as { found: unknown }).found;
  });
  assert.equal(found[0], undefined);
  assert.deepEqual(found[1], { own: join(scratch, 'first/undici/lib/global.js') });
  Reflect.set(globalThis, name, nodes);
});
