import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import {
  command,
  detach,
  gone,
  isAlive,
  living,
  logged,
  onTerminal,
  redirected,
  shell,
  write,
} from './pods.ts';

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
    const shared = person.start([
      'sh',
      '-c',
      '(echo head; "$0" run -- sh -c "echo out; echo err >&2"; echo tail) > shared 2>&1',
      command,
    ]);
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
        const { code, stdout, stderr } = await (taken === 'pipe'
          ? person.finish(run)
          : onTerminal(person, run).end());
        assert.equal(code, 0, stderr + stdout);
        assert.equal(plain(stdout), FIRST);
      }
      write(person, 'second', 'before\n');
      const [onFile, onPipe, typed] = await Promise.all([
        redirected(person, ['restore', image], '>> second').end(),
        person.finish(['restore', image]),
        onTerminal(person, ['restore', image]).end(),
      ]);
      assert.deepEqual(
        [onFile.code, onPipe.code, typed.code],
        [7, 7, 7],
        onFile.stderr + onPipe.stderr + typed.stdout,
      );
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
    const started = await person.json([
      'run',
      '-d',
      '--',
      ...shell('ask ./reader; while read -r line; do echo "read $line"; done; echo end'),
    ]);
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

describe('a program’s life and death', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  const ENDS: readonly (readonly [string, number])[] = [
    ['exit 0', 0],
    ['exit 1', 1],
    ['exit 42', 42],
    ['exit 125', 125],
    ['exit 255', 255],
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137],
    ['kill -SEGV $$', 139],
  ];

  test('give the exit code of run and of restore', async () => {
    assert.equal((await person.finish(['run', '--', ...shell('ask ./end; eval "$arg"; exit 99')])).code, 0);
    for (const [script, code] of ENDS) {
      const [run, restored] = await Promise.all([
        person.finish(['run', '--', 'sh', '-c', script]),
        person.finish(['restore', './end', '--', script]),
      ]);
      assert.deepEqual([run.code, restored.code], [code, code], `${script}: ${run.stderr}${restored.stderr}`);
    }
    assert.deepEqual(await living(person), []);
  });

  test('may be short: a program that ends at once leaves nothing but its exit code', async () => {
    const { code, stdout, stderr } = await person.finish(['run', '--', 'true']);
    assert.deepEqual([code, stdout, stderr], [0, '', '']);
    const id = await detach(person, ['sh', '-c', 'exit 3']);
    assert.equal((await person.finish(['wait', id])).code, 3);
  });

  test('a program that cannot be started is 126 or 127, and leaves no run', async () => {
    const runs = (await person.json(['ps', '--all'])) as unknown[];
    const missing = await person.finish(['run', '--', './no-such-program']);
    assert.equal(missing.code, 127, missing.stderr);
    assert.match(missing.stderr, /^Error: .*no-such-program/m);
    const text = write(person, 'text', 'no program\n');
    const closed = await person.finish(['run', '--', text]);
    assert.equal(closed.code, 126, closed.stderr);
    assert.equal(((await person.json(['ps', '--all'])) as unknown[]).length, runs.length);
  });

  test('every signal that is sent to the command reaches the program', async () => {
    const program = [nodeBinary(24), programPath('signals.mjs')];
    const send = async (running: Running): Promise<void> => {
      for (const signal of [
        'SIGINT',
        'SIGTERM',
        'SIGHUP',
        'SIGQUIT',
        'SIGUSR1',
        'SIGUSR2',
        'SIGWINCH',
        'SIGCONT',
      ] as const) {
        running.child.kill(signal);
        await running.output(new RegExp(`got ${signal}`));
      }
      running.child.kill('SIGKILL');
    };
    const run = person.forkpoint(['run', '--name', 'signals', '--', ...program]);
    await run.output(/listening/);
    await person.json(['checkpoint', 'signals', './signals']);
    await send(run);
    const restored = person.forkpoint(['restore', './signals', '--name', 'again']);
    await eventually(
      async () => ((await living(person)).some(({ name }) => name === 'again') ? true : undefined),
      'the restore',
    );
    await send(restored);
  });

  test('ends with a command in the foreground that is killed, and goes on without its starter when detached', async () => {
    const program = ['sh', '-c', 'echo up; while :; do read -r x < /proc/uptime; sleep 0.2; done'];
    const foreground = person.forkpoint(['run', '--name', 'fore', '--', ...program]);
    await foreground.output(/up/);
    const [fore] = await living(person);
    // The loop's sleeps come and go.
    const pids = [fore?.hostPid ?? 0];
    assert.ok(pids.every(isAlive));
    foreground.child.kill('SIGKILL');
    await gone(pids, 'the program');
    await eventually(async () => ((await living(person)).length === 0 ? true : undefined), 'its end in ps');
    const starter = person.start([
      'setsid',
      'sh',
      '-c',
      '"$@" && echo started && exec sleep 60',
      'sh',
      command,
      'run',
      '-d',
      '--name',
      'back',
      '--',
      ...program,
    ]);
    await starter.output(/started/);
    const [back] = await living(person);
    assert.ok(starter.child.pid !== undefined);
    process.kill(-starter.child.pid, 'SIGKILL');
    await starter.end();
    assert.ok(back?.hostPid !== undefined && back.hostPid !== null && isAlive(back.hostPid));
    assert.equal((await person.finish(['kill', 'back'])).code, 0);
    await gone([back.hostPid], 'the detached program');
  });

  test('the program has a session of its own and no descriptor but its three, before and after a restore', async () => {
    // The shell opens nothing itself: its commands come from the argument.
    const look =
      'ls -x /proc/$$/fd; read -r a b c d e session rest < /proc/$$/stat; echo "session $((session == $$))"';
    const stdio = ['pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'] as const;
    const taken = await person
      .forkpoint(['run', '--', ...shell(`${look}; ask ./look; ${look}`)], { stdio })
      .end();
    assert.equal(taken.stdout, '0  1  2\nsession 1\n', taken.stderr);
    const restored = await person.forkpoint(['restore', './look'], { stdio }).end();
    assert.equal(restored.stdout, '0  1  2\nsession 1\n', restored.stderr);
  });

  test('a detached program’s log can be followed to its end', async () => {
    const id = await detach(person, [
      'sh',
      '-c',
      'mkfifo gate; echo one; read -r x < gate; echo two; exit 3',
    ]);
    await logged(person, id, /^one$/m);
    const following = person.forkpoint(['logs', '-f', id]);
    await following.output(/^one\n$/);
    write(person, 'word', 'go\n');
    await person.start(['sh', '-c', 'cat word > gate']).end();
    const { code, stdout } = await following.end();
    assert.deepEqual([code, stdout], [0, 'one\ntwo\n']);
  });

  test('a detached program writes its log', async () => {
    const id = await detach(person, ['sh', '-c', 'echo one; echo two >&2; exec sleep 60']);
    await logged(person, id, /^one\ntwo\n$/);
    const own = (await living(person)).find((run) => run.id === id);
    // Generation, the host's pid, processes, memory of its own and shared.
    const row = new RegExp(
      `^${id} +\\S+ +running +0 +${own?.hostPid} +1 +\\d.* [kM]B +\\d.* [kM]?B +\\d`,
      'm',
    );
    assert.match((await person.finish(['ps'])).stdout, row);
    assert.equal((await person.finish(['kill', id])).code, 0);
  });
});
