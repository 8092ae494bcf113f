import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary } from '@forkpoint/testkit';
import type { Finished, Person } from '@forkpoint/testkit';
import { command } from './pods.ts';

const CYCLE = `cd "$WORK"
id=$("$FP" run -d -- "$NODE" -e 'let n = 0; setInterval(() => console.log("tick " + ++n), 20)') || exit 1
until "$FP" logs "$id" | grep -q 'tick 2$'; do :; done
"$FP" checkpoint "$id" ./image --stop || exit 1
clone=$("$FP" restore ./image -d) || exit 1
until "$FP" logs "$clone" | grep -q tick; do :; done
echo "first: $("$FP" logs "$clone" | head -n 1)"
"$FP" kill "$clone" --signal KILL; "$FP" wait "$clone"; true`;

/** Everybody may make namespaces and change mounts in them: what the test changes, nobody else sees. */
describe('in surroundings that are not the usual', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  /** Runs a shell script in namespaces of its own; `HOME` and `WORK` are the person's directories, `ENGINE` the engine. */
  async function within(namespaces: readonly string[], script: string): Promise<Finished> {
    const engine = process.env['FORKPOINT_TEST_ENGINE'] ?? '';
    const env = {
      FP: command,
      NODE: nodeBinary(24),
      ENGINE: engine,
      FPHOME: person.home,
      WORK: person.scratch,
    };
    return await person
      .start(['unshare', ...namespaces, 'sh', '-c', script], { env, timeoutMs: 180_000 })
      .end();
  }

  /** A fresh tmpfs as data directory, with the engine in it. */
  const home = (options: string): string =>
    `mount -t tmpfs -o mode=700${options} none "$FPHOME" && cp -r "$ENGINE" "$FPHOME/engine" && ` +
    `sed -i "s#$ENGINE#$FPHOME/engine#g" "$FPHOME/engine/engine.plan"`;

  function worked({ code, stdout, stderr }: Finished): void {
    assert.equal(code, 0, stderr + stdout);
    // The first line of a clone is the one after the last of the original.
    assert.match(stdout, /^first: tick (?!1$)\d+$/m, stderr);
  }

  test('a data directory in memory and a root that is read-only: works', async () => {
    const script = `${home('')} && mount -t tmpfs none "$WORK" && mount -o remount,bind,ro / && ! touch /x 2> /dev/null
      ${CYCLE}`;
    worked(await within(['-Urm'], script));
  });

  test('no network but the loopback: works; not even that: is named, with what to do', async () => {
    const script = `mkdir -p "$WORK/net"; cd "$WORK/net"
      "$FP" doctor | grep -A1 loopback; id=$("$FP" run -d -- sleep 100); "$FP" checkpoint "$id" ./none; echo "code $?"; "$FP" kill "$id" --signal KILL
      ip link set lo up; ${CYCLE}`;
    const result = await within(['-Urmn'], script);
    worked(result);
    assert.match(result.stdout, /FAIL +loopback .*down\n +Hint: .*ip link set lo up/);
    assert.match(
      result.stderr,
      /the loopback interface of this network namespace is down[^]*Hint: .*ip link set lo up/,
    );
    assert.match(result.stdout, /^code [13]$/m);
  });

  test('namespaces within namespaces, whose /proc hides the processes of others: works', async () => {
    worked(await within(['-Urmpf'], `mount -t proc -o hidepid=2 none /proc && ${CYCLE}`));
  });

  test('no user namespaces: is named by doctor, with the line that allows them, and run says where to look', async () => {
    const script = `echo 0 > /proc/sys/user/max_user_namespaces; "$FP" doctor; "$FP" run -- true; echo "code $?"`;
    const { stdout, stderr } = await within(['-Ur'], script);
    assert.match(
      stdout,
      /FAIL +user namespaces +forbidden by user\.max_user_namespaces=0\n +Hint: as root: sysctl -w/,
    );
    assert.match(stderr, /cannot make namespaces; run `forkpoint doctor`/);
    assert.match(stdout, /^code 125$/m);
  });

  test('a data directory from which nothing may be executed, or which is read-only: is named, with what to do', async () => {
    const barred = await within(
      ['-Urm'],
      `${home(',noexec')}; cd "$WORK"; "$FP" run -- true; echo "code $?"; "$FP" doctor`,
    );
    assert.match(
      barred.stderr,
      /cannot be executed in the data directory[^]*mounted noexec[^]*Hint: Set FORKPOINT_HOME/,
    );
    assert.match(
      barred.stdout,
      /^code 125$[^]*FAIL +data directory .*\n +Hint: set FORKPOINT_HOME .*noexec/m,
    );
    const closed = await within(
      ['-Urm'],
      `mount --bind "$FPHOME" "$FPHOME" && mount -o remount,bind,ro "$FPHOME" && cd "$WORK"; "$FP" run -- true; echo "code $?"`,
    );
    assert.match(
      closed.stderr,
      /read-only file system\nHint: Set FORKPOINT_HOME to a directory that you may write to/,
    );
    assert.match(closed.stdout, /^code (1|125)$/m);
  });

  test('runs on a file system that is mounted noexec: an image that maps code is refused and, flattened, works; others copy it', async () => {
    const noexec = `mkdir -p "$FPHOME/runs" && mount -t tmpfs -o mode=700,noexec none "$FPHOME/runs"`;
    const records = (image: string): string => `tr '\\0' '\\n' < ${image}/restore.plan | grep -c '^code:1$'`;
    const result = await within(
      ['-Urm'],
      `${home('')} && cd "$WORK"
      id=$("$FP" run -d -- "$NODE" -e 'let n = 0; setInterval(() => console.log("tick " + ++n), 20)') || exit 1
      until "$FP" logs "$id" | grep -q 'tick 2$'; do :; done
      "$FP" checkpoint "$id" ./mapped --stop || exit 1
      echo "mapped: $(${records('./mapped')})"
      ${noexec} || exit 1
      "$FP" restore ./mapped -d; echo "code $?"
      "$FP" flatten ./mapped || exit 1
      echo "flat: $(${records('./mapped')})"
      flat=$("$FP" restore ./mapped -d) || exit 1
      until "$FP" logs "$flat" | grep -q tick; do :; done
      echo "first: $("$FP" logs "$flat" | head -n 1)"
      "$FP" kill "$flat" --signal KILL; "$FP" wait "$flat"
      ${CYCLE}
      echo "copied: $(${records('./image')})"`,
    );
    worked(result);
    assert.match(
      result.stderr,
      /The image maps code, and \S+runs is mounted noexec\nHint: .*`forkpoint flatten \S+mapped`/,
    );
    assert.match(result.stdout, /^mapped: 1\ncode 1(25)?\n[^]*^flat: 0\nfirst: [^]*^copied: 0$/m);
  });
});
