import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManifestError, matchPolicy, parseFdPolicies } from '../src/index.ts';
import type { PolicyTarget } from '../src/index.ts';

const file = (path: string): PolicyTarget => ({
  kind: 'file',
  fds: [7],
  path,
  address: null,
  peer: null,
  isListening: false,
});
const tcp = (address: string, peer: string | null = null): PolicyTarget => ({
  kind: 'tcp',
  fds: [8],
  path: null,
  address,
  peer,
  isListening: peer === null,
});

/** Returns the number of the matching rule, -1 for none. */
function match(rules: readonly object[], target: PolicyTarget): number {
  return matchPolicy(parseFdPolicies(JSON.stringify({ descriptors: rules }), 'test'), target);
}

test('the first rule that matches counts', () => {
  const rules = [
    { path: '/var/log/*.log', action: 'reopen', kind: 'file' },
    { path: '/var/**', action: 'close', kind: 'file' },
    { kind: 'file', action: 'error' },
  ];
  assert.equal(match(rules, file('/var/log/a.log')), 0);
  assert.equal(match(rules, file('/var/log/deep/a.log')), 1);
  assert.equal(match(rules, file('/etc/passwd')), 2);
  assert.equal(match(rules, tcp('127.0.0.1:80')), -1);
});

test('a glob stops at slashes unless it has two stars, and other characters mean themselves', () => {
  const one = (path: string, value: string): number => match([{ path, action: 'ignore' }], file(value));
  assert.equal(one('/a/*.js', '/a/b.js'), 0);
  assert.equal(one('/a/*.js', '/a/b/c.js'), -1);
  assert.equal(one('/a/**/c.js', '/a/b/x/c.js'), 0);
  assert.equal(one('/a/**/c.js', '/a/c.js'), 0);
  assert.equal(one('/a/?.js', '/a/b.js'), 0);
  assert.equal(one('/a.b(c)[d]', '/a.b(c)[d]'), 0);
  assert.equal(one('/a.b', '/axb'), -1);
});

test('addresses, peers, numbers and listening', () => {
  assert.equal(match([{ address: '*:80', action: 'close' }], tcp('127.0.0.1:80')), 0);
  assert.equal(match([{ address: '*:80', action: 'close' }], tcp('127.0.0.1:8080')), -1);
  assert.equal(match([{ address: '[::1]:*', action: 'close' }], tcp('[::1]:80')), 0);
  assert.equal(match([{ peer: '*:5432', action: 'error' }], tcp('127.0.0.1:40000', '10.0.0.1:5432')), 0);
  assert.equal(match([{ peer: '*:5432', action: 'error' }], tcp('127.0.0.1:40000')), -1);
  assert.equal(match([{ fd: 7, action: 'ignore' }], file('/a')), 0);
  assert.equal(match([{ fd: 6, action: 'ignore' }], file('/a')), -1);
  assert.equal(match([{ listening: false, action: 'error' }], tcp('127.0.0.1:80')), -1);
  const slot = [{ kind: 'tcp', action: 'slot', slot: 'web' }];
  assert.equal(match(slot, tcp('127.0.0.1:80')), 0);
  assert.equal(match(slot, tcp('127.0.0.1:40000', '10.0.0.1:80')), -1, 'a connection is no slot');
});

test('mistakes are named with the rule and the field', () => {
  const cases: [string, RegExp][] = [
    ['nonsense', /policy\.json is not usable: it is not JSON/],
    ['[]', /the whole is not an object/],
    ['{"rules":[]}', /unknown field "rules"/],
    ['{"descriptors":{}}', /descriptors/],
    ['{"descriptors":[{"action":"shut"}]}', /descriptors\[0\]\.action/],
    ['{"descriptors":[{"action":"error"},{"action":"error","kind":"socket"}]}', /descriptors\[1\]\.kind/],
    ['{"descriptors":[{"action":"reopen"}]}', /needs a kind: file, tcp, unix/],
    [
      '{"descriptors":[{"action":"reopen","kind":"pipe"}]}',
      /cannot have the action reopen with the kind pipe/,
    ],
    ['{"descriptors":[{"action":"reopen","kind":"tcp","listening":false}]}', /only listening sockets/],
    ['{"descriptors":[{"action":"slot","kind":"file"}]}', /descriptors\[0\]\.slot is missing/],
    ['{"descriptors":[{"action":"close","slot":"a"}]}', /slot has no meaning/],
    ['{"descriptors":[{"action":"close","address":"localhost"}]}', /descriptors\[0\]\.address/],
  ];
  for (const [content, expected] of cases) {
    assert.throws(
      () => parseFdPolicies(content, 'policy.json'),
      (error: unknown) =>
        error instanceof ManifestError &&
        error.code === 'ERR_FORKPOINT_POLICY' &&
        expected.test(error.message),
      content,
    );
  }
});

test('a file without rules is a file without rules', () => {
  assert.deepEqual(parseFdPolicies('{}', 'x'), []);
});
