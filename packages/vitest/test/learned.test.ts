import assert from 'node:assert/strict';
import test from 'node:test';
import { choose, decodeLearned, encodeLearned, NOTHING, withFile, withUnfit } from '../src/learned.ts';

const learned = (files: Record<string, string[]>) =>
  Object.entries(files).reduce((sum, [file, imports]) => withFile(sum, file, imports), NOTHING);

test('a mold imports what at least two files do, in the order in which they do', () => {
  const known = learned({ one: ['/c.js', '/a.js', '/b.js'], two: ['/b.js', '/c.js'], three: ['/d.js'] });
  assert.deepEqual(choose(known), ['/c.js', '/b.js']);
  assert.deepEqual(choose(learned({ one: ['/c.js', '/a.js'] })), ['/c.js', '/a.js']);
  assert.deepEqual(choose(NOTHING), []);
});

test('a file that ran again counts by what it imports now', () => {
  const known = withFile(learned({ one: ['/a.js'], two: ['/a.js', '/b.js'] }), 'one', ['/b.js']);
  assert.deepEqual(choose(known), ['/b.js']);
});

test('what is unfit is left out, and what it loads of other packages comes in its place', () => {
  const known = learned({
    one: ['/first.js', '/hooks.js', '/last.js'],
    two: ['/last.js', '/hooks.js', '/first.js'],
  });
  const once = withUnfit(known, [
    { id: '/hooks.js', why: 'hooks', instead: ['/dom.js', '/first.js', '/bad.js'] },
  ]);
  assert.deepEqual(choose(once), ['/first.js', '/dom.js', '/bad.js', '/last.js']);
  const twice = withUnfit(once, [{ id: '/bad.js', why: 'fails', instead: ['/hooks.js'] }]);
  assert.deepEqual(choose(twice), ['/first.js', '/dom.js', '/last.js']);
});

test('what the user does not want is left out', () => {
  assert.deepEqual(
    choose(learned({ one: ['/a.js', '/b.js'] }), (id) => id !== '/a.js'),
    ['/b.js'],
  );
});

test('what was learned is read as it was written, and anything else as nothing', () => {
  const known = withUnfit(learned({ one: ['/a.js'] }), [{ id: '/b.js', why: 'fails', instead: [] }]);
  assert.deepEqual(decodeLearned(encodeLearned(known)), known);
  for (const text of [
    '',
    '{',
    '[]',
    'null',
    '{"v":2,"files":[],"unfit":[]}',
    '{"v":1,"files":{},"unfit":[]}',
  ])
    assert.deepEqual(decodeLearned(text), NOTHING, text);
  const broken = '{"v":1,"files":[["one",["/a.js"]],["two",[3]],7],"unfit":[{"id":"/b.js"},null]}';
  assert.deepEqual(decodeLearned(broken), learned({ one: ['/a.js'] }));
});
