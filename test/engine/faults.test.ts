import assert from 'node:assert/strict';
import {
  appendFileSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Finished, Person, Running } from '@forkpoint/testkit';
import {
  childrenOf,
  command,
  detach,
  gone,
  isAlive,
  launcherOf,
  living,
  logged,
  logOf,
  revive,
  signal,
  write,
} from './pods.ts';

const pulse = [nodeBinary(24), programPath('pulse.mjs')];
const BIG = ['big', '120'];

/** Returns the host's pid of a descendant of a run's launcher whose command line matches. */
async function helperOf(person: Person, id: string, pattern: RegExp): Promise<number> {
  const launcher = launcherOf(person, id);
  return await eventually(
    () => childrenOf(launcher).find((pid) => pattern.test(commandOf(pid))),
    `${String(pattern)} in run ${id}`,
  );
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    // It has ended in between.
    return '';
  }
}

/** Waits until CRIU is writing the pages of a run's checkpoint into the scratch directory; returns CRIU's pid, or undefined when it was over sooner. */
async function dumping(person: Person, id: string, hasEnded: () => boolean): Promise<number | undefined> {
  const launcher = launcherOf(person, id);
  const criu = await eventually(
    () =>
      childrenOf(launcher).find((pid) => / dump /.test(commandOf(pid))) ?? (hasEnded() ? null : undefined),
    `CRIU in run ${id}`,
  );
  // Without a pause: it takes a tenth of a second.
  while (criu !== null && isAlive(criu)) {
    const [draft = ''] = leftovers(person.scratch);
    const pages = lstatSync(join(person.scratch, draft, 'pages-1.img'), { throwIfNoEntry: false });
    if (pages !== undefined && pages.size > 0) return criu;
  }
  return undefined;
}

/** Asks for a checkpoint and strikes while CRIU writes; asks again when the dump was over before it was seen. */
async function whileDumping(
  person: Person,
  id: string,
  to: string,
  strike: (running: Running, criu: number) => void | Promise<void>,
  tries = 5,
): Promise<Finished> {
  const running = person.forkpoint(['checkpoint', id, to]);
  let hasEnded = false;
  void running.end().then(() => (hasEnded = true));
  const criu = await dumping(person, id, () => hasEnded);
  if (criu !== undefined) await strike(running, criu);
  const ended = await running.end();
  if (ended.code !== 0 || tries === 1) return ended;
  rmSync(join(person.scratch, to), { recursive: true });
  return await whileDumping(person, id, to, strike, tries - 1);
}

/** What a checkpoint that failed may have left in a directory. */
function leftovers(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.endsWith('.tmp'));
}

/** Asks the program for a sign of life and returns the digest of its memory. */
async function beat(person: Person, id: string): Promise<string> {
  const before = [...logOf(person, id).matchAll(/^beat /gm)].length;
  signal(person, id, 'SIGUSR1');
  return await eventually(
    () => [...logOf(person, id).matchAll(/^beat \d+ ([0-9a-f]+)$/gm)][before]?.[1],
    `run ${id} answering`,
  );
}

function failed({ code, stderr }: Finished, pattern: RegExp, expected = 1): void {
  assert.equal(code, expected, stderr);
  assert.match(stderr, /^Error: /);
  assert.match(stderr, pattern);
  assert.doesNotMatch(stderr, /^ +at /m, 'no stack is shown');
}

describe('when a checkpoint fails', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('on a full disk, nothing is left there, the program answers, and a checkpoint elsewhere works', async () => {
    mkdirSync(join(person.scratch, 'full'));
    chownSync(join(person.scratch, 'full'), person.uid, person.uid);
    // Everybody may mount a tmpfs in namespaces of their own; the pod is made within them.
    const inside = [
      'unshare',
      '-Urm',
      'sh',
      '-c',
      'mount -t tmpfs -o size=4m none "$0" && exec "$@"',
      join(person.scratch, 'full'),
      command,
    ];
    const run = person.start([...inside, 'run', '-d', '--name', 'disk', '--', ...pulse]);
    assert.equal((await run.end()).code, 0, run.stderr);
    const id = run.stdout.trim();
    await logged(person, id, /^up$/m);
    failed(await person.finish(['checkpoint', id, './full/image']), /No space|ENOSPC|space left/i);
    const [own] = await living(person);
    assert.ok(own?.hostPid !== undefined && own.hostPid !== null);
    assert.deepEqual(readdirSync(join(`/proc/${own.hostPid}/root`, person.scratch, 'full')), []);
    await beat(person, id);
    assert.equal((await person.finish(['checkpoint', id, './elsewhere'])).code, 0);
    await beat(person, id);
    const restored = await person.start([...inside, 'restore', './elsewhere', '-d', '--name', 'again']).end();
    assert.equal(restored.code, 0, restored.stderr);
    await beat(person, restored.stdout.trim());
  });

  test('because CRIU is killed in the middle, the program goes on unchanged and the next one succeeds', async () => {
    const id = await detach(person, [...pulse, ...BIG], ['--name', 'criu']);
    await logged(person, id, /^up$/m);
    const digest = await beat(person, id);
    const killed = await whileDumping(
      person,
      id,
      './killed',
      (_, criu) => void process.kill(criu, 'SIGKILL'),
    );
    failed(killed, /criu/i, 3);
    assert.equal(existsSync(join(person.scratch, 'killed')), false);
    assert.deepEqual(leftovers(person.scratch), []);
    assert.equal(await beat(person, id), digest);
    await person.json(['checkpoint', id, './killed', '--stop']);
    const clone = await revive(person, './killed');
    assert.equal(await beat(person, clone), digest);
    await person.finish(['kill', clone]);
  });

  test('because the worker is killed while the program waits, everybody is told', async () => {
    const id = await detach(person, [...pulse, ...BIG], ['--name', 'worker']);
    await logged(person, id, /^up$/m);
    const digest = await beat(person, id);
    const outside = await whileDumping(
      person,
      id,
      './lost',
      async () => void process.kill(await helperOf(person, id, /worker\.cjs/), 'SIGKILL'),
    );
    failed(outside, /worker ended early/, 3);
    assert.equal(await beat(person, id), digest);
    assert.equal(existsSync(join(person.scratch, 'lost')), false);
    // The same for a checkpoint that the program itself has asked for.
    assert.equal((await person.finish(['kill', id, '--signal', 'USR2'])).code, 0);
    await helperOf(person, id, / dump /);
    process.kill(await helperOf(person, id, /worker\.cjs/), 'SIGKILL');
    await logged(person, id, /^own failed ERR_FORKPOINT_WORKER/m);
    assert.equal(await beat(person, id), digest);
    await person.json(['checkpoint', id, './lost']);
    assert.deepEqual(leftovers(person.scratch), [], 'the next checkpoint cleans up');
    assert.equal(await beat(person, id), digest);
    await person.finish(['kill', id]);
  });

  test('because the worker is killed right when the launcher has something to tell it, the program hears of no SIGPIPE', async () => {
    // Node.js ignores that signal; most programs die of it.
    const id = await detach(person, ['sleep', '600']);
    const outside = person.forkpoint(['checkpoint', id, './told']);
    const worker = await helperOf(person, id, /worker\.cjs/);
    process.kill(worker, 'SIGSTOP');
    const launcher = launcherOf(person, id);
    process.kill(launcher, 'SIGSTOP');
    process.kill(worker, 'SIGKILL');
    // Its end of the pipe is closed with its last thread, and nobody has reaped it: whoever writes to it then gets the signal.
    await eventually(
      () => (!isAlive(worker) && readdirSync(`/proc/${worker}/task`).length === 1 ? true : undefined),
      'the end of the worker',
    );
    const next = { v: 1, op: 'checkpoint', pid: 0, ask: 'next', to: './next', cwd: person.scratch };
    appendFileSync(join(person.home, 'runs', id, 'ctl/request'), `${JSON.stringify(next)}\n`);
    process.kill(launcher, 'SIGCONT');
    failed(await outside.end(), /worker ended early/, 3);
    const answer = join(person.home, 'runs', id, 'results/next.json');
    await eventually(() => existsSync(answer) || undefined, 'the answer to the next request');
    assert.match(readFileSync(answer, 'utf8'), /"outcome":"done"/);
    assert.equal((await living(person)).find((run) => run.id === id)?.processes.length, 1);
    await person.finish(['kill', id]);
  });

  test('because a hook throws, its text is told and the program goes on', async () => {
    const id = await detach(person, [...pulse, 'throw']);
    await logged(person, id, /^up$/m);
    failed(await person.finish(['checkpoint', id, './thrown']), /the database is busy/);
    await logged(person, id, /^after$/m);
    await beat(person, id);
    assert.equal((await person.finish(['kill', id, '--signal', 'USR2'])).code, 0);
    await logged(person, id, /^own failed .*/m);
    await beat(person, id);
    assert.equal(existsSync(join(person.scratch, 'thrown')), false);
    assert.deepEqual(leftovers(person.scratch), []);
    await person.finish(['kill', id]);
  });

  test('because a process never answers, it is named within the limit and the others are let go', async () => {
    const both = `"$@" & child=$!; echo "child $child"; exec "$@"`;
    const id = await detach(person, ['sh', '-c', both, 'sh', ...pulse]);
    const child = Number((await logged(person, id, /^child (\d+)$/m))[1]);
    await logged(person, id, /^up\n(.*\n)*up$/m);
    const [run] = await living(person).then((all) => all.filter((one) => one.id === id));
    const busy = run?.processes.find(({ pid }) => pid === child)?.hostPid;
    assert.ok(busy !== undefined);
    process.kill(busy, 'SIGWINCH');
    await logged(person, id, /^busy$/m);
    // Without the limit it would wait for half a minute.
    failed(
      await person.finish(['checkpoint', id, './never', '--timeout', '1'], { timeoutMs: 20_000 }),
      new RegExp(`process ${child}\\b`),
    );
    await beat(person, id);
    assert.deepEqual(leftovers(person.scratch), []);
    await person.finish(['kill', id, '--signal', 'KILL']);
  });

  test('because its command is interrupted, the run stays as it is', async () => {
    const id = await detach(person, [...pulse, ...BIG]);
    await logged(person, id, /^up$/m);
    const digest = await beat(person, id);
    const interrupted = await whileDumping(
      person,
      id,
      './interrupted',
      ({ child }) => void child.kill('SIGINT'),
    );
    assert.notEqual(interrupted.code, 0);
    assert.equal(await beat(person, id), digest);
    await person.json(['checkpoint', id, './interrupted']);
    assert.equal(await beat(person, id), digest);
    assert.deepEqual(leftovers(person.scratch), []);
    await person.finish(['kill', id]);
  });
});

describe('two checkpoints of one run at once', () => {
  test('both succeed, one after the other', async () => {
    const person = createPerson();
    try {
      const id = await detach(person, pulse);
      await logged(person, id, /^up$/m);
      const outside = ['one', 'two', 'three'].map(
        async (name) => await person.json(['checkpoint', id, `./${name}`]),
      );
      await person.finish(['kill', id, '--signal', 'USR2']);
      await Promise.all(outside);
      await logged(person, id, /^own continued$/m);
      for (const image of ['one', 'two', 'three', 'own']) {
        const clone = await revive(person, `./${image}`);
        await beat(person, clone);
      }
      await beat(person, id);
    } finally {
      await person.leave();
    }
  });
});

describe('when a launcher or a restore comes to grief', () => {
  let person: Person;
  before(async () => {
    person = createPerson();
    const id = await detach(person, [...pulse, 'big', '20']);
    await logged(person, id, /^up$/m);
    await person.json(['checkpoint', id, './image', '--stop']);
  });
  after(async () => await person.leave());

  test('a killed launcher takes everything of its pod with it, and ps says so', async () => {
    const id = await revive(person, './image');
    const launcher = launcherOf(person, id);
    const run = (await living(person)).find((one) => one.id === id);
    const pids = [launcher, ...(run?.processes ?? []).map(({ hostPid }) => hostPid)];
    assert.ok(pids.length > 1 && pids.every(isAlive));
    process.kill(launcher, 'SIGKILL');
    await gone(pids, 'the pod');
    assert.ok(!(await living(person)).some((one) => one.id === id));
    assert.match((await person.finish(['ps', '--all'])).stdout, new RegExp(`${id}.*killed`));
    failed(await person.finish(['checkpoint', id, './too-late']), /ended|gone|not alive|no living/i);
  });

  test('a foreground command whose launcher is killed says so and ends with 125', async () => {
    const running = person.forkpoint(['restore', './image', '--name', 'fore']);
    const run = await eventually(
      async () => (await living(person)).find(({ name }) => name === 'fore'),
      'the restore',
    );
    process.kill(launcherOf(person, run.id), 'SIGKILL');
    const { code, stderr } = await running.end();
    assert.equal(code, 125);
    assert.match(stderr, /killed by signal 9/);
  });

  const abandoned = async (running: Running, before: readonly string[], pattern: RegExp): Promise<void> => {
    const { code, stderr } = await running.end();
    assert.equal(code, 125, stderr);
    assert.match(stderr, pattern);
    assert.deepEqual(readdirSync(join(person.home, 'runs')), before, 'no run is left');
    assert.doesNotMatch(readFileSync('/proc/mounts', 'utf8'), new RegExp(person.home));
    assert.deepEqual(await living(person), []);
  };

  /** Waits for the pod of a restore, and returns the host's pids of its pid 1 and of the engine in it. */
  const podOf = async (restore: Running): Promise<[inner: number, engine: number]> =>
    await eventually(() => {
      // The first child is at first the one that makes the namespaces, which has no children.
      const inner = childrenOf(restore.child.pid ?? 0)[0] ?? 0;
      const engine = childrenOf(inner)[0];
      return engine === undefined ? undefined : [inner, engine];
    }, 'the engine');

  test('a restore that exceeds its limit ends with 125 and leaves nothing', async () => {
    const before = readdirSync(join(person.home, 'runs'));
    await abandoned(
      person.forkpoint(['restore', './image', '--timeout', '0.001']),
      before,
      /did not end within/,
    );
    await abandoned(
      person.forkpoint(['restore', './image', '-d', '--timeout', '0.001']),
      before,
      /did not end within/,
    );
  });

  test('a CRIU that hangs or dies in a restore is ended with its pod', async () => {
    const before = readdirSync(join(person.home, 'runs'));
    const engine = join(person.home, 'engine');
    const real = join(person.home, 'engine-real');
    renameSync(engine, real);
    mkdirSync(engine);
    symlinkSync(join(real, 'native'), join(engine, 'native'));
    try {
      const hang = write(person, 'criu', 'exec sleep 1000');
      const words = ['forkpoint-plan:2', 'engine', '1', 'criu:2', '/bin/sh', hang, 'version:1', '4.2.1', ''];
      writeFileSync(join(engine, 'engine.plan'), words.join('\0'));
      const hanging = person.forkpoint(['restore', './image', '--timeout', '3']);
      const [inner, sleeper] = await podOf(hanging);
      assert.ok(isAlive(sleeper));
      await abandoned(hanging, before, /did not end within 3/);
      assert.equal(isAlive(inner) || isAlive(sleeper), false);
      const killed = person.forkpoint(['restore', './image']);
      process.kill((await podOf(killed))[1], 'SIGKILL');
      await abandoned(killed, before, /CRIU ended/);
      const interrupted = person.forkpoint(['restore', './image']);
      const third = await podOf(interrupted);
      interrupted.child.kill('SIGINT');
      assert.notEqual((await interrupted.end()).code, 0);
      await gone(third, 'the interrupted pod');
    } finally {
      for (const name of readdirSync(engine)) unlinkSync(join(engine, name));
      renameSync(engine, join(person.home, 'engine-fake'));
      renameSync(real, engine);
    }
    await beat(person, await revive(person, './image'));
  });
});
