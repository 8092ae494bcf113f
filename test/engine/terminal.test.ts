import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { command, detach, logged, logOf, shell } from './pods.ts';

/** Starts a shell line on a terminal; what is written to the child's stdin is typed there. */
function typing(person: Person, line: string): Running {
  return person.start(['script', '-q', '-e', '-c', line, '/dev/null'], {
    env: { TERM: 'xterm', PS1: 'ready$ ' },
  });
}

function type(running: Running, text: string): void {
  running.child.stdin?.write(text);
}

describe('a program that has switched its terminal to raw', () => {
  let person: Person;
  before(async () => {
    person = createPerson();
    const words = `${nodeBinary(24)} ${programPath('keys.mjs')}`;
    const first = typing(person, `stty rows 24 cols 80; exec ${command} run -- ${words}`);
    await first.output(/reading keys/);
    type(first, 's');
    await first.output(/terminal true 80x24 raw true/);
    type(first, 'c');
    const { code, stdout } = await first.end();
    assert.equal(code, 0, stdout);
  });
  after(async () => await person.leave());

  test('reads keys again on another terminal after a restore, and learns its size', async () => {
    const restored = typing(person, `stty rows 33 cols 77; exec ${command} restore ./keys`);
    await restored.output(/resized/);
    type(restored, 's');
    await restored.output(/terminal true 77x33 raw true input true/);
    type(restored, 'q');
    assert.equal((await restored.end()).code, 4);
  });

  test('is told that its input and output are no terminal any more', async () => {
    const { stdout, code, stderr } = await person.finish(['restore', './keys'], { input: 'sq' });
    assert.equal(code, 4, stderr);
    assert.match(stdout, /^terminal false .* input false$/m);
  });
});

describe('a program in the foreground of a shell', () => {
  let person: Person;
  const ticks = 'i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.1; done';
  before(async () => {
    person = createPerson();
    const id = await detach(person, shell(`ask ./ticking false; ${ticks}`));
    await logged(person, id, /^tick 1$/m);
    await person.finish(['kill', id, '--signal', 'KILL']);
  });
  after(async () => await person.leave());

  const ways: readonly (readonly [string, string])[] = [
    ['fresh', `run -- sh -c '${ticks}'`],
    ['restored', 'restore ./ticking'],
  ];
  for (const [what, words] of ways) {
    test(`is stopped by Ctrl-Z, goes on with bg and fg, and ends with Ctrl-C (${what})`, async () => {
      const bash = typing(person, 'bash --norc --noprofile -i');
      const ticked = async (): Promise<void> => {
        const seen = [...bash.stdout.matchAll(/tick \d+/g)].length;
        await bash.output(new RegExp(`(?:tick \\d+[^]*?){${seen + 2}}`));
      };
      type(bash, `${command} ${words}\n`);
      await ticked();
      type(bash, '\x1a');
      await bash.output(/Stopped/);
      const count = [...bash.stdout.matchAll(/tick \d+/g)].length;
      type(bash, 'echo "the shell is $((40 + 2))"\n');
      await bash.output(/the shell is 42/);
      assert.equal([...bash.stdout.matchAll(/tick \d+/g)].length, count, 'it stands still');
      type(bash, 'bg\n');
      await ticked();
      type(bash, 'fg\n');
      await ticked();
      type(bash, '\x03');
      // What is typed before the prompt is back is read by the command.
      await bash.output(/\^C[^]*ready\$ $/);
      type(bash, 'echo "ended with $?"\n');
      await bash.output(/ended with 130/);
      type(bash, 'exit\n');
      await bash.end();
    });
  }

  test('in the background leaves the terminal to the shell, and has it again with fg', async () => {
    const bash = typing(person, 'bash --norc --noprofile -i');
    type(bash, `${command} run --name cat -- cat &\n`);
    await bash.output(/\[1\] \d+/);
    type(bash, 'echo "typed at the $((6 * 7)). prompt"; jobs\n');
    await bash.output(/typed at the 42\. prompt/);
    await bash.output(/Running.* cat/);
    type(bash, 'fg\n');
    await bash.output(/run --name cat -- cat\r?\n/);
    type(bash, 'hello cat\n');
    await bash.output(/hello cat[^]*hello cat/);
    type(bash, '\x04');
    await bash.output(/hello cat[^]*hello cat[^]*ready\$ $/);
    type(bash, 'exit\n');
    assert.equal((await bash.end()).code, 0, bash.stdout);
  });
});

test('a detached run goes on when the terminal is closed that it was started or restored on', async () => {
  const person = createPerson();
  // `script` closes its terminal with the command, as ssh does; what it starts there is the leader of the session.
  const startedOn = async (line: string): Promise<string> => {
    const { code, stdout } = await typing(person, line).end();
    assert.equal(code, 0, stdout);
    return stdout.trim();
  };
  const isUnharmed = async (id: string): Promise<void> => {
    assert.equal((await person.finish(['kill', id, '--signal', 'USR1'])).code, 0);
    await logged(person, id, /^asked$/m);
    assert.doesNotMatch(logOf(person, id), /hung up/);
  };
  try {
    const program = `trap 'echo hung up' HUP; trap 'echo asked' USR1; echo up; while :; do sleep 0.05; done`;
    const run = await startedOn(`exec ${command} run -d -- sh -c "${program}"`);
    await isUnharmed(run);
    await person.json(['checkpoint', run, './quiet']);
    await isUnharmed(await startedOn(`exec ${command} restore ./quiet -d`));
    await person.json(['compress', './quiet']);
    await isUnharmed(await startedOn(`exec ${command} restore ./quiet -d`));
  } finally {
    await person.leave();
  }
});
