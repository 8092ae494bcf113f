import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isNode } from '../src/strangers.ts';

test('Node.js is known by the name of its file, and nothing else is taken for it', () => {
  for (const exe of ['/usr/bin/node', '/usr/bin/nodejs', '/opt/node-24', '/opt/node22.1'])
    assert.equal(isNode(exe), true, exe);
  for (const exe of ['/usr/bin/nodemon', '/usr/bin/python3.11', '/opt/node/bin/tool', null])
    assert.equal(isNode(exe), false, String(exe));
});
