import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failuresOf } from '../scripts/lib/tap.mjs';

test('what failed in a test run is told once more at its end, without the suites around it', () => {
  const report = [
    'TAP version 13',
    '    not ok 1 - in’ner',
    '      ---',
    "      location: '/a.test.ts:2:21'",
    "      failureType: 'testCodeFailure'",
    '      error: |-',
    '        what',
    '        ',
    '          lines',
    "      code: 'ERR_ASSERTION'",
    '      ...',
    'not ok 1 - a suite',
    '  ---',
    "  failureType: 'subtestsFailed'",
    "  error: '1 subtest failed'",
    '  ...',
    'not ok 2 - b',
    '  ---',
    "  location: '/b.test.ts:1:1'",
    "  failureType: 'hookFailed'",
    "  error: 'bad'",
    '  ...',
    'ok 3 - c',
    '# fail 2',
  ].join('\n');
  assert.deepEqual(failuresOf(report), [
    { name: 'in’ner', location: '/a.test.ts:2:21', error: 'what\n\n  lines' },
    { name: 'b', location: '/b.test.ts:1:1', error: 'bad' },
  ]);
  assert.deepEqual(failuresOf(''), []);
});
