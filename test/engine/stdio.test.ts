import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { command, onTerminal, redirected, shell, write } from './pods.ts';

const counter = [nodeBinary(24), programPath('counter.mjs')];
const echo = [nodeBinary(24), programPath('echo.mjs')];
const FIRST = 'line 1\nline 2\nline 3\n';
const SECOND = /^restored generation 1 args \[\]\nline 4\nline 5\nline 6\nline 7\nend\n$/;

/** Makes the ends of lines those of a file: a terminal writes CR LF. */
function plain(text: string): string {
  return text.replaceAll('\r\n', '\n');
}

describe('a program’s output', () => {
  let person: Person;
  const file = (name: string): string => readFileSync(join(person.scratch, name), 'utf8');
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('goes to a file, at its end, and others go on behind it', async () => {
    const words = ['run', '--', 'sh', '-c', 'echo out; echo err >&2'];
    assert.equal((await redirected(person, words, '> new').end()).code, 0);
    assert.equal(file('new'), 'out\n');
    assert.equal((await redirected(person, words, '>> new').end()).code, 0);
    assert.equal(file('new'), 'out\nout\n');
    assert.equal((await redirected(person, words, '> both 2>&1').end()).code, 0);
    assert.equal(file('both'), 'out\nerr\n');
    const shared = person.start(['sh', '-c', '(echo head; "$0" run -- sh -c "echo out; echo err >&2"; echo tail) > shared 2>&1', command]);
    await shared.end();
    assert.equal(file('shared'), 'head\nout\nerr\ntail\n');
  });

  test('is part of a pipeline', async () => {
    const line = 'printf "a\\nb\\n" | cat | "$@" | sed s/^/seen:/';
    const { stdout } = await person.start(['sh', '-c', line, 'sh', command, 'run', '--', 'cat']).end();
    assert.equal(stdout, 'seen:a\nseen:b\n');
    const warm = await person.finish(['run', '--', ...shell('ask ./pipeline; exec cat')]);
    assert.equal(warm.code, 0, warm.stderr);
    const again = await person.start(['sh', '-c', line, 'sh', command, 'restore', './pipeline']).end();
    assert.equal(again.stdout, 'seen:a\nseen:b\n', again.stderr);
  });

  for (const taken of ['file', 'pipe', 'terminal', 'log'] as const) {
    test(`taken on a ${taken}, goes on on a file, a pipe and a terminal`, async () => {
      const image = `./on-${taken}`;
      const run = ['run', '--to', image, '--', ...counter, '-'];
      if (taken === 'log') {
        const started = await person.json(['run', '-d', ...run.slice(1)]);
        assert.ok(typeof started === 'object' && started !== null && 'id' in started);
        assert.equal((await person.finish(['wait', String(started.id)])).code, 0);
        assert.equal((await person.finish(['logs', String(started.id)])).stdout, FIRST);
      } else if (taken === 'file') {
        assert.equal((await redirected(person, run, '> first').end()).code, 0);
        assert.equal(file('first'), FIRST);
      } else {
        const { code, stdout, stderr } = await (taken === 'pipe' ? person.finish(run) : onTerminal(person, run).end());
        assert.equal(code, 0, stderr + stdout);
        assert.equal(plain(stdout), FIRST);
      }
      write(person, 'second', 'before\n');
      const [onFile, onPipe, typed] = await Promise.all([
        redirected(person, ['restore', image], '>> second').end(),
        person.finish(['restore', image]),
        onTerminal(person, ['restore', image]).end(),
      ]);
      assert.deepEqual([onFile.code, onPipe.code, typed.code], [7, 7, 7], onFile.stderr + onPipe.stderr + typed.stdout);
      assert.match(file('second').replace('before\n', ''), SECOND);
      assert.match(onPipe.stdout, SECOND);
      assert.match(plain(typed.stdout), SECOND);
    });
  }
});

describe('a program’s input', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('of an image taken detached is what is piped into the restore', async () => {
    const started = await person.json(['run', '-d', '--', ...shell('ask ./reader; while read -r line; do echo "read $line"; done; echo end')]);
    assert.ok(typeof started === 'object' && started !== null && 'id' in started);
    assert.equal((await person.finish(['wait', String(started.id)])).code, 0);
    const { code, stdout } = await person.finish(['restore', './reader'], { input: 'one\ntwo\n' });
    assert.equal(stdout, 'read one\nread two\nend\n');
    assert.equal(code, 0);
    write(person, 'input', 'from a file\n');
    const file = await redirected(person, ['restore', './reader'], '< input').end();
    assert.equal(file.stdout, 'read from a file\nend\n');
  });

  const begin = async (running: Running, image: string): Promise<void> => {
    await running.output(/ready on/);
    running.child.stdin?.write('hello\n');
    await running.output(/echo hello/);
    running.child.stdin?.write(`checkpoint ${image}\n`);
    const { code, stdout, stderr } = await running.end();
    assert.equal(code, 0, stderr + stdout);
  };
  const goOn = async (running: Running, end: string): Promise<void> => {
    await running.output(/restored/);
    running.child.stdin?.write('again\n');
    await running.output(/echo again/);
    running.child.stdin?.write(end);
    const { code, stdout } = await running.end();
    assert.equal(code, 5, stdout);
  };

  test('goes on after a restore, between pipes and terminals', async () => {
    await Promise.all([
      begin(person.forkpoint(['run', '--', ...echo]), './piped'),
      begin(onTerminal(person, ['run', '--', ...echo]), './typed'),
    ]);
    for (const image of ['./piped', './typed']) {
      await Promise.all([
        goOn(person.forkpoint(['restore', image]), 'quit 5\n'),
        goOn(onTerminal(person, ['restore', image]), 'quit 5\n'),
      ]);
    }
    const file = await redirected(person, ['restore', './piped'], '< quit').end();
    assert.notEqual(file.code, 0, 'there is no such file');
    write(person, 'quit', 'line\nquit 5\n');
    const read = await redirected(person, ['restore', './piped'], '< quit').end();
    assert.equal(read.stdout, 'restored\necho line\n');
    assert.equal(read.code, 5);
  });

  test('ends where the caller’s ends', async () => {
    const { code, stdout } = await person.finish(['restore', './piped'], { input: 'last\n' });
    assert.equal(stdout, 'restored\necho last\nend of input\n');
    assert.equal(code, 0);
  });

  test('of a terminal ends a restored program at Ctrl-C', async () => {
    const fresh = onTerminal(person, ['run', '--', ...echo]);
    await fresh.output(/ready on a terminal/);
    fresh.child.stdin?.write('\x03');
    assert.equal((await fresh.end()).code, 130);
    for (const image of ['./typed', './piped']) {
      const restored = onTerminal(person, ['restore', image]);
      await restored.output(/restored/);
      restored.child.stdin?.write('\x03');
      assert.equal((await restored.end()).code, 130, image);
    }
  });
});
