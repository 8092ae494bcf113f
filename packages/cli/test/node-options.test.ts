import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withYoungLimit } from '../src/node-options.ts';

describe('the limit of the young generation', () => {
  test('stands behind the options that are there, unless they or the command have one', () => {
    const command = ['node', '--enable-source-maps', 'server.js'];
    assert.equal(withYoungLimit(undefined, command, 4), '--max-semi-space-size=4');
    assert.equal(withYoungLimit('--no-warnings', command, 2), '--no-warnings --max-semi-space-size=2');
    for (const own of ['--max-semi-space-size=1', '--semi_space_growth_factor=4', '--optimize-for-size'])
      assert.equal(withYoungLimit(own, command, 4), undefined);
    assert.equal(withYoungLimit('', ['node', '--max-heap-size=200', 'server.js'], 4), undefined);
  });
});
