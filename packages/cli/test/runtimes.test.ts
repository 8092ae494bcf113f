import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { adapt } from '../src/runtimes/adapt.ts';
import { explainFlags } from '../src/runtimes/flags.ts';
import { parseJavaCommand } from '../src/runtimes/java-command.ts';
import { behindEnv, recognise } from '../src/runtimes/recognise.ts';

const scratch = mkdtempSync(join(tmpdir(), 'forkpoint-runtimes-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** A package directory with or without the Java client. */
function library(hasJar: boolean): string {
  const lib = mkdtempSync(join(scratch, 'lib-'));
  mkdirSync(join(lib, 'clients'));
  if (hasJar) writeFileSync(join(lib, 'clients/forkpoint.jar'), '');
  return lib;
}

function program(name: string, content: string | Buffer, mode = 0o755): string {
  const path = join(mkdtempSync(join(scratch, 'bin-')), name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

/** The head of an ELF program with one program header of a type. */
function elf(type: number): Buffer {
  const head = Buffer.alloc(64 + 56);
  head.write('\x7fELF\x02\x01\x01', 'latin1');
  head.writeUInt16LE(2, 16);
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  head.writeUInt32LE(type, 64);
  return head;
}

const lib = library(true);
const at = { lib, cache: join(scratch, 'cache'), env: {} };
const java = program('java', elf(3));

test('a runtime is recognised by its name, and a script by the interpreter in its first line', () => {
  for (const [name, content, kind] of [
    ['java', elf(3), 'java'],
    ['java21', elf(3), 'java'],
    ['java-17', elf(3), 'java'],
    ['python3.12', elf(3), 'python'],
    ['ruby3.1', elf(3), 'ruby'],
    ['jruby', '#!/bin/sh\n', 'jruby'],
    ['manage', '#!/usr/bin/env -S python3 -u\n', 'python'],
    ['puma', '#!/usr/bin/ruby\n', 'ruby'],
    ['server', '#!/usr/bin/env node\n', 'node'],
    ['true', elf(3), 'other'],
  ] as const) {
    assert.equal(recognise(name, program(name, content)).kind, kind, name);
  }
});

test('a runtime is recognised behind env(1) and the variables that it sets', () => {
  assert.deepEqual(behindEnv(['/usr/bin/env', 'A=1', 'PYTHONPATH=/a:/b=c', 'python3', 'B=2', 'x.py']), {
    prefix: ['/usr/bin/env', 'A=1', 'PYTHONPATH=/a:/b=c'],
    set: { A: '1', PYTHONPATH: '/a:/b=c' },
    rest: ['python3', 'B=2', 'x.py'],
  });
  assert.deepEqual(behindEnv(['env', 'ruby', 'x.rb']).rest, ['ruby', 'x.rb']);
  for (const command of [['env'], ['env', 'A=1'], ['env', '-i', 'A=1', 'ruby'], ['python3', 'A=1', 'x']])
    assert.deepEqual(behindEnv(command), { prefix: [], set: {}, rest: command });
});

test('a program without a dynamic linker, or with another user, is warned of', () => {
  const warningsOf = (file: string): readonly string[] => adapt([file], file, at).warnings;
  assert.match(warningsOf(program('static', elf(1)))[0] ?? '', /linked statically/);
  assert.match(warningsOf(program('su', elf(3), 0o4755))[0] ?? '', /nothing is preloaded/);
  assert.deepEqual(warningsOf(program('dynamic', elf(3))), []);
});

test('a JVM gets the flags that a checkpoint needs, in front of its own', () => {
  const { command, warnings } = adapt(['java', '-Xmx1g', '-jar', 'app.jar', '-x'], java, at);
  assert.deepEqual(command, [
    'java',
    '-XX:-UsePerfData',
    `-javaagent:${lib}/clients/forkpoint.jar`,
    '-Dorg.crac.Core.Compat=dev.forkpoint.crac',
    '-Xmx1g',
    '-jar',
    'app.jar',
    '-x',
  ]);
  assert.deepEqual(warnings, []);
  assert.equal(explainFlags([command]).length, 3);
});

test('what the user has decided about a JVM stays', () => {
  const flags = ['-XX:+UsePerfData', '-Dorg.crac.Core.Compat=mine', '-javaagent:/my/forkpoint.jar'];
  const { command, warnings } = adapt(['java', ...flags, 'Main'], java, at);
  assert.deepEqual(command, ['java', ...flags, 'Main']);
  assert.match(warnings.join(), /hsperfdata/);
});

test('flags of a JVM that are unsafe are warned of, and a missing client', () => {
  const warned = adapt(
    ['java', '-agentlib:jdwp=transport=dt_socket', '-XX:+UseLargePages', '-XX:AllocateHeapAt=/tmp', 'Main'],
    java,
    at,
  );
  assert.equal(warned.warnings.length, 3);
  const without = adapt(['java', 'Main'], java, { ...at, lib: library(false) });
  assert.match(without.warnings.join(), /npm run build:java/);
  assert.deepEqual(without.command, ['java', '-XX:-UsePerfData', 'Main']);
});

test("CRaC's options become a destination or a restore", () => {
  const taken = adapt(['java', '-XX:CRaCCheckpointTo=cr', '-cp', 'a:b', 'Main', 'x'], java, at);
  assert.equal(taken.checkpointTo, 'cr');
  assert.deepEqual(taken.command.slice(-4), ['-cp', 'a:b', 'Main', 'x']);
  const words = [
    'java',
    '-XX:CRaCRestoreFrom=cr',
    '-XX:+CRaCIgnoreRestoreIfUnavailable',
    '-Dk=v',
    'Other',
    'a',
    '-b',
  ];
  assert.deepEqual(adapt(words, java, at).restore, {
    image: './cr',
    main: 'Other',
    properties: ['k=v'],
    args: ['a', '-b'],
    orRun: true,
  });
  assert.equal(
    adapt(['java', '-XX:CRaCRestoreFrom=/cr', '-jar', 'app.jar'], java, at).restore?.main,
    undefined,
  );
  // What cannot be taken out of a variable is skipped by the JVM.
  const env = { JDK_JAVA_OPTIONS: '-XX:CRaCCheckpointTo=/there' };
  const hidden = adapt(['java', 'Main'], java, { ...at, env });
  assert.equal(hidden.checkpointTo, '/there');
  assert.ok(hidden.command.includes('-XX:+IgnoreUnrecognizedVMOptions'));
});

test('the words behind java are taken apart as the JDK does', () => {
  const { options, main, args } = parseJavaCommand([
    '-cp',
    '-jar',
    '--add-opens',
    'a/b=c',
    '-m',
    'mod/Main',
    '-jar',
  ]);
  assert.deepEqual(
    [options, main, args],
    [['-cp', '-jar', '--add-opens', 'a/b=c'], ['-m', 'mod/Main'], ['-jar']],
  );
  assert.deepEqual(parseJavaCommand(['-version']).main, []);
});

test('JRuby gets its flags through JAVA_OPTS, and its own words for checkpoint and restore are understood', () => {
  const home = mkdtempSync(join(scratch, 'jruby-'));
  const jruby = join(home, 'bin/jruby');
  for (const directory of ['bin', 'lib']) mkdirSync(join(home, directory));
  writeFileSync(jruby, '#!/bin/sh\n');
  writeFileSync(join(home, 'lib/jruby.jar'), '');
  const { env, checkpointTo } = adapt(['jruby', '--checkpoint=img', '-e', '1'], jruby, {
    ...at,
    cache: join(scratch, 'cache'),
    env: { JAVA_OPTS: '-Xmx2g' },
  });
  assert.match(env['JAVA_OPTS'] ?? '', /^-Xmx2g -XX:-UsePerfData .*-Djffi\.extract\.dir=\S+\/cache\/jffi\//);
  const elsewhere = program('jruby10', '#!/bin/sh\n');
  assert.doesNotMatch(adapt(['jruby10'], elsewhere, at).env['JAVA_OPTS'] ?? '', /jffi/);
  assert.equal(env['RUBYLIB'], `${lib}/clients/ruby`);
  assert.equal(checkpointTo, 'img');
  assert.deepEqual(adapt(['jruby', '--restore=img', '-e', 'puts 1'], jruby, at).restore, {
    image: './img',
    main: 'org.jruby.Main',
    properties: [],
    args: ['-e', 'puts 1'],
    orRun: false,
  });
  assert.equal(adapt(['jruby', 'script.rb', '--checkpoint=x'], jruby, at).checkpointTo, undefined);
});

test('Python and Ruby find their client behind what the user has on the path', () => {
  const python = program('python3', elf(3));
  const env = { PYTHONPATH: '/mine' };
  assert.equal(
    adapt(['python3', 'a.py'], python, { ...at, env }).env['PYTHONPATH'],
    `/mine:${lib}/clients/python`,
  );
  assert.deepEqual(adapt(['true'], program('true', elf(3)), { ...at, env }).env, {});
});
