import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findCompiler } from '@forkpoint/engine';
import { createPerson, eventually, nodeBinary, programPath, runToEnd } from '@forkpoint/testkit';
import type { Finished, Person } from '@forkpoint/testkit';
import { ASK, command, detach, isAlive, living, logged, logOf, revive, shell, write } from './pods.ts';

const ROOT = process.getuid?.() === 0;

describe('programs of any language, by the ten lines of the protocol', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('keep a mapped memfd, a message queue and semaphores, for two generations', async () => {
    const engine = process.env['FORKPOINT_TEST_ENGINE'] ?? '';
    const compiler = await findCompiler(engine, 'auto', {
      env: process.env,
      log: () => undefined,
      signal: undefined,
    });
    const program = join(person.scratch, 'objects');
    const [file = '', ...words] = compiler.executable([programPath('objects.c')], program, true);
    execFileSync(file, words, { timeout: 60_000 });
    chmodSync(program, 0o755);
    const first = await person.finish(['run', '--', program, './first', './second']);
    assert.deepEqual([first.code, first.stdout], [0, ''], first.stderr);
    const second = await person.finish(['restore', './first']);
    assert.deepEqual([second.code, second.stdout], [0, 'generation 1 is right\n'], second.stderr);
    const [one, two] = await Promise.all([
      person.finish(['restore', './second']),
      person.finish(['restore', './second']),
    ]);
    assert.deepEqual([one.code, one.stdout], [9, 'generation 2 is right\n'], one.stderr);
    assert.deepEqual([two.code, two.stdout], [9, 'generation 2 is right\n'], two.stderr);
  });

  test('go on with their log files, which others have written to meanwhile', async () => {
    const appended = join(person.scratch, 'appended');
    const script = `exec 8>> appended 9> written; echo 0 >&8; echo 0 >&9
      ask ./log-1; echo 1 >&8; echo 1 >&9; ask ./log-2; echo 2 >&8; echo 2 >&9; exit 6`;
    assert.equal((await person.finish(['run', '--', ...shell(script)])).code, 0);
    appendFileSync(appended, 'somebody else\n');
    const second = await person.finish(['restore', './log-1']);
    assert.equal(second.code, 0, second.stderr);
    appendFileSync(appended, 'again\n');
    const third = await person.finish(['restore', './log-2']);
    assert.equal(third.code, 6, third.stderr);
    assert.equal(readFileSync(appended, 'utf8'), '0\nsomebody else\n1\nagain\n2\n');
    assert.equal(readFileSync(join(person.scratch, 'written'), 'utf8'), '0\n1\n2\n');
  });

  test('may be two shells that talk through a pipe', async () => {
    const script = `${ASK} i=0
      sh -c 'while read -r line; do echo "child $line"; done; echo "child ends"' <&0 >&1 &
      while [ $i -lt 3 ]; do i=$((i + 1)); echo "parent $i"; ask "./pair-$i" false; echo "$kind"; done | cat
      wait; exit 4`;
    const { code, stdout, stderr } = await person.finish(['run', '--', 'bash', '-c', script]);
    assert.equal(code, 4, stderr);
    assert.deepEqual(stdout.split('\n').filter((line) => line === 'continued').length, 3, stdout);
    const last = await person.finish(['restore', './pair-2']);
    assert.equal(last.code, 4, last.stderr);
    assert.equal(last.stdout.replace('child ends\n', ''), 'restored\nparent 3\ncontinued\n');
  });

  const LOOK = `look() {
    echo "uid $(id -u)"; grep -E '^(CapEff|CapPrm|CapInh|CapBnd|CapAmb|NoNewPrivs)' /proc/$$/status; }`;

  test('see their own uid, no capability and the host’s /run, before and after a restore', async () => {
    const host = readdirSync('/run').toSorted().join(' ');
    const script = `${LOOK}; look; echo run $(ls /run | sort | tr '\\n' ' '); ask ./look; look; echo run $(ls /run | sort | tr '\\n' ' ')`;
    const run = await person.finish(['run', '--', ...shell(script)]);
    const restored = await person.finish(['restore', './look']);
    for (const { stdout, stderr } of [run, restored]) {
      assert.match(stdout, new RegExp(`^uid ${person.uid}$`, 'm'), stderr);
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
        assert.match(stdout, new RegExp(`^${set}:\\t0000000000000000$`, 'm'), `${set} in ${stdout}`);
      }
      const seen = /^run (.*)$/m.exec(stdout)?.[1]?.trim().split(' ').toSorted().join(' ');
      assert.equal(seen, host);
    }
    assert.equal(run.stdout, restored.stdout, 'nothing has changed');
  });

  test('changed supplementary groups do not hang a restore', async () => {
    assert.equal((await person.finish(['run', '--', ...shell('ask ./groups; id -G; exit 3')])).code, 0);
    if (ROOT) {
      // Taken with three groups and restored with none, and the other way round.
      const as = (groups: string, words: string[]): Promise<Finished> => rootly(person, groups, words);
      const taken = await as('100,101,102', ['run', '--', ...shell('ask ./with-groups; exit 3')]);
      assert.equal(taken.code, 0, taken.stderr);
      for (const [groups, image] of [
        ['103', './groups'],
        ['100,103', './with-groups'],
      ] as const) {
        const { code, stderr } = await as(groups, ['restore', image, '--timeout', '10']);
        assert.equal(code, 3, stderr);
      }
    }
    for (const image of ROOT ? ['./groups', './with-groups'] : ['./groups']) {
      const { code, stderr } = await person.finish(['restore', image, '--timeout', '10']);
      assert.equal(code, 3, stderr);
    }
  });
});

/** Runs `forkpoint` as the person with supplementary groups; only root can. */
async function rootly(person: Person, groups: string, words: readonly string[]): Promise<Finished> {
  const ids = [`--reuid=${person.uid}`, `--regid=${person.uid}`, `--groups=${groups}`, '--inh-caps=-all'];
  const env = {
    HOME: person.scratch,
    FORKPOINT_HOME: person.home,
    XDG_DATA_HOME: undefined,
    NODE_OPTIONS: undefined,
  };
  return await runToEnd(['setpriv', ...ids, '--', command, ...words], { cwd: person.scratch, env });
}

describe('a checkpoint is never silently less than the program', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  const cases: readonly (readonly [string, string])[] = [
    ['a daemon', '(setsid sh -c "exec sleep 1001 < /dev/null > /dev/null 2>&1 &")'],
    ['an orphan', '(sleep 1002 &)'],
  ];
  for (const [what, start] of cases) {
    test(`${what} in the pod is named, the checkpoint is refused, and both go on`, async () => {
      const name = what.replace(' ', '-');
      const id = await detach(
        person,
        ['sh', '-c', `${start}; trap 'echo alive' USR1; echo up; while :; do sleep 0.1; done`],
        ['--name', name],
      );
      await logged(person, id, /^up$/m);
      const left = await eventually(async () => {
        const found = (await living(person)).find((one) => one.id === id);
        return found?.processes.find(({ command: text }) => /^sleep 100\d$/.test(text.join(' ')));
      }, 'the process that left');
      const result = await person.finish(['checkpoint', id, `./${name}`]);
      assert.equal(result.code, 1, result.stderr);
      assert.match(result.stderr, new RegExp(`process ${left.pid} \\(sleep\\)`));
      assert.equal(existsSync(join(person.scratch, name)), false);
      assert.equal((await person.finish(['kill', id, '--signal', 'USR1'])).code, 0);
      await logged(person, id, /^alive$/m);
      assert.ok(isAlive(left.hostPid));
      const dry = await person.finish(['checkpoint', id, '--dry-run']);
      assert.match(dry.stderr, new RegExp(`process ${left.pid} \\(sleep\\)`));
      // Without it there is nothing against a checkpoint.
      process.kill(left.hostPid, 'SIGKILL');
      await eventually(() => (isAlive(left.hostPid) ? undefined : true), 'its end');
      const taken = await person.finish(['checkpoint', id, `./${name}`]);
      assert.equal(taken.code, 0, taken.stderr);
      assert.equal((await person.finish(['kill', id, '--signal', 'KILL'])).code, 0);
    });
  }
});

describe('a restore starts no Node process', () => {
  test('neither the one on PATH nor the one of FORKPOINT_NODE', async () => {
    const person = createPerson();
    try {
      const id = await detach(person, [nodeBinary(24), programPath('pulse.mjs')]);
      await logged(person, id, /^up$/m);
      await person.json(['checkpoint', id, './image', '--stop']);
      const bin = join(person.scratch, 'bin');
      mkdirSync(bin);
      const calls = write(person, 'calls', '');
      const spy = join(bin, 'node');
      writeFileSync(spy, `#!/bin/sh\necho "$@" >> ${calls}\nexec ${nodeBinary(24)} "$@"\n`);
      chmodSync(spy, 0o755);
      chownSync(bin, person.uid, person.uid);
      const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}`, FORKPOINT_NODE: spy };
      const restored = await person.start([command, 'restore', './image', '-d'], { env }).end();
      assert.equal(restored.code, 0, restored.stderr);
      assert.equal(readFileSync(calls, 'utf8'), '');
      const clone = restored.stdout.trim();
      await person.finish(['kill', clone, '--signal', 'USR1']);
      await logged(person, clone, /^beat /m);
      const launched = await person
        .start(
          [
            'strace',
            '-f',
            '-e',
            'trace=execve',
            '-o',
            join(person.scratch, 'trace'),
            command,
            'restore',
            './image',
            '-d',
          ],
          { env },
        )
        .end()
        .catch(() => undefined);
      // Only where there is an strace; the spy above has seen the same.
      if (launched?.code === 0)
        assert.doesNotMatch(readFileSync(join(person.scratch, 'trace'), 'utf8'), /execve\("[^"]*node"/);
      // The worker of the clone is started with what the restore was given.
      await person.json(['checkpoint', clone, './next']);
      assert.match(readFileSync(calls, 'utf8'), /worker\.cjs/);
      assert.match(logOf(person, clone), /beat/);
      await revive(person, './next');
    } finally {
      await person.leave();
    }
  });
});
