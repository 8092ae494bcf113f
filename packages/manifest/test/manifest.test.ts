import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseManifest, serializeManifest } from '../src/index.ts';
import { sample } from './sample.ts';

const invalid = { code: 'ERR_FORKPOINT_MANIFEST_INVALID' };

/** Returns the sample's text with the value at a path of keys replaced; undefined removes it. */
function changed(path: readonly (string | number)[], value: unknown): string {
  const root = structuredClone(sample) as unknown as Record<string, unknown>;
  let at = root;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>;
  at[path.at(-1) as string] = value;
  return JSON.stringify(root);
}

test('a manifest survives the way through its text', () => {
  assert.deepEqual(parseManifest(serializeManifest(sample)), sample);
});

test('every field must be there, and the error names it; only the score may be missing', () => {
  for (const key of Object.keys(sample)) {
    if (key === 'score') continue;
    assert.throws(() => parseManifest(changed([key], undefined)), {
      ...invalid,
      message: new RegExp(`\\b${key} is missing`),
    });
  }
  assert.equal(parseManifest(changed(['score'], undefined)).score, null);
});

test('a wrong value is refused and the error names the place', () => {
  const cases: [path: (string | number)[], value: unknown, place: RegExp][] = [
    [['id'], '../../etc', /\bid is malformed/],
    [['parentId'], 7, /parentId is not a string/],
    [['generation'], -1, /generation is not between/],
    [['generation'], 1.5, /generation is not a whole number/],
    [['createdAt'], 'yesterday', /createdAt is malformed/],
    [['command'], 'node', /command is not a list/],
    [['command'], ['a\0b'], /command\[0\] contains a NUL/],
    [['cwd'], 'relative', /cwd is malformed/],
    [['host', 'cpu', 0], 'xyz', /host\.cpu\[0\] is malformed/],
    [['layers', 0, 'file'], '../pages-1.img', /layers\[0\]\.file is malformed/],
    [['layers', 0, 'file'], '..', /layers\[0\]\.file is malformed/],
    [['layers', 0, 'size'], 2 ** 60, /layers\[0\]\.size is not a whole number/],
    [['slots', 0, 'kind'], 'pipe', /slots\[0\]\.kind is not one of/],
    [['slots', 1, 'port'], 65_536, /slots\[1\]\.port/],
    [['slots', 1, 'address'], '::1; rm', /slots\[1\]\.address/],
    [['slots', 2, 'id'], 'stdin', /slots has an id twice/],
    [['processes'], [], /processes is empty/],
    [['processes', 1, 'pid'], 5000, /pid 5000 twice/],
    [['members'], [1], /members has the pid 1/],
    [['members'], Array.from({ length: 70_000 }, () => 5000), /members has more than/],
    [['labels'], { '': 'x' }, /labels has the forbidden name/],
    [['labels'], [], /labels is not an object/],
    [['reseed'], 'yes', /reseed is not true or false/],
    [['warmup'], { elapsedMs: '1' }, /warmup\.elapsedMs/],
    [['clocks', 'monotonic', 'nanoseconds'], 1e9, /clocks\.monotonic\.nanoseconds/],
    [['files', 0, 'mtimeNs'], 12, /files\[0\]\.mtimeNs/],
    [['origin'], null, /origin is not an object/],
  ];
  for (const [path, value, message] of cases) {
    assert.throws(() => parseManifest(changed(path, value)), { ...invalid, message });
  }
});

test('a newer format is refused in one line with a hint, whatever else is in it', () => {
  assert.throws(() => parseManifest('{"formatVersion":3,"pods":[]}'), {
    code: 'ERR_FORKPOINT_MANIFEST_NEWER',
    message: 'the image has format 3, and this forkpoint reads formats up to 2',
  });
});

test('names of prototypes get nowhere', () => {
  for (const name of ['__proto__', 'constructor', 'prototype']) {
    const content = JSON.stringify(sample).replace('"app"', JSON.stringify(name));
    assert.throws(() => parseManifest(content), /forbidden name/);
  }
  const parsed = parseManifest(JSON.stringify(sample).replace('{', '{"__proto__":{"evil":1},'));
  assert.equal((parsed as unknown as { evil?: number }).evil, undefined);
});

test('fields that are not known are dropped', () => {
  assert.deepEqual(parseManifest(changed(['later'], 1)), sample);
});

test('any text is either a manifest or the error of this package', () => {
  const check = (content: string): void => {
    try {
      parseManifest(content);
    } catch (error) {
      assert.match((error as { code: string }).code, /^ERR_FORKPOINT_MANIFEST_/);
    }
  };
  fc.assert(fc.property(fc.string(), check));
  fc.assert(fc.property(fc.json(), check));
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(sample)), fc.jsonValue(), (key, value) =>
      check(changed([key], value)),
    ),
  );
  const content = JSON.stringify(sample);
  fc.assert(
    fc.property(fc.nat(content.length - 1), (end) => {
      assert.throws(() => parseManifest(content.slice(0, end)), invalid);
    }),
  );
});
