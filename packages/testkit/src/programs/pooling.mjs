// Has a pool of clones: `pooling.mjs SCENARIO IMAGE`. What it finds out it prints as lines `NAME JSON`.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { createPool } from '../../../forkpoint/dist/host.mjs';

const [scenario, image] = process.argv.slice(2);
const say = (name, value) => console.log(`${name} ${JSON.stringify(value)}`);

/** The first two lines of a clone, as one object. */
async function facts(clone) {
  const found = {};
  let lines = 0;
  for await (const line of createInterface({ input: clone.stdout })) {
    Object.assign(found, JSON.parse(line));
    if (++lines === 2) break;
  }
  return found;
}

const event = (pool, test) => new Promise((done) => pool.waits.push([test, done]));

async function open(options) {
  const waits = [];
  const onEvent = (one) => {
    for (const [test, done] of waits) if (test(one)) done(one);
  };
  const pool = await createPool({ image, onEvent, ...options });
  return Object.assign(pool, { waits });
}

const scenarios = {
  async life() {
    const pool = await open({ size: 2, env: { COLOUR: 'grey' }, checkMs: 50 });
    await pool.ready();
    say('counts', pool.counts);
    const first = await pool.acquire({ args: ['one', 'x'], env: { COLOUR: 'red' } });
    const rest = await Promise.all(['two', 'three', 'four'].map((arg) => pool.acquire({ args: [arg] })));
    const clones = [first, ...rest];
    say(
      'parked',
      clones.map(({ wasParked }) => wasParked),
    );
    say(
      'ids',
      clones.map(({ id }) => id),
    );
    for (const clone of clones) say('facts', await facts(clone));
    const addresses = clones.map((clone) => [...clone.addresses.values()][0]);
    say('served', await Promise.all(addresses.map(async (one) => (await fetch(`http://${one}`)).text())));
    first.kill('SIGTERM');
    say('end', await first.wait());
    await pool.ready();
    const parked = event(pool, ({ type }) => type === 'parked');
    const retired = event(pool, ({ type }) => type === 'retired');
    const handed = new Set(clones.map(({ id }) => id));
    const victim = runsOf().find(({ id, isAlive }) => !handed.has(id) && isAlive);
    process.kill(victim.launcherPid, 'SIGKILL');
    const { id, why } = await retired;
    say('dead', [id === victim.id, why]);
    await parked;
    await pool.drain();
    say('drained', pool.counts);
    say('refused', await pool.acquire().catch(({ code }) => code));
    say('lives', await (await fetch(`http://${addresses[1]}`)).text());
    await pool.close();
    say('closed', pool.counts);
  },
  async bounds() {
    const old = await open({ size: 1, maxAgeMs: 300 });
    say('old', (await event(old, ({ type }) => type === 'retired')).why);
    await old.close();
    const small = await open({ size: 2, maxMemoryBytes: 1, checkMs: 50 });
    say('memory', (await event(small, ({ type }) => type === 'retired')).why);
    await small.close();
    const late = await open({ size: 0 });
    say(
      'aborted',
      await late.acquire({ signal: AbortSignal.abort(new Error('no more')) }).catch(({ message }) => message),
    );
    await late.close();
    const broken = await open({ size: 1, listen: { nothing: '1' } });
    say('broken', await broken.ready().catch(({ message }) => message));
    await broken.close();
  },
  /** What two clones print that stood ready and were given the same. */
  async client() {
    const pool = await open({ size: 2 });
    await pool.ready();
    const clones = await Promise.all(
      [1, 2].map(() => pool.acquire({ args: ['x', 'y'], env: { FLAVOUR: 'mint' } })),
    );
    say(
      'parked',
      clones.map(({ wasParked }) => wasParked),
    );
    say('said', await Promise.all(clones.map(({ stdout }) => text(stdout))));
    await pool.close();
  },
  async killed() {
    const pool = await open({ size: 1 });
    await pool.ready();
    await pool.acquire();
    await pool.ready();
    say(
      'ready',
      runsOf().map(({ launcherPid }) => launcherPid),
    );
    setInterval(() => undefined, 1000);
  },
};

function runsOf() {
  const runs = join(process.env.FORKPOINT_HOME, 'runs');
  return readdirSync(runs).flatMap((id) => {
    try {
      const { launcherPid } = JSON.parse(readFileSync(join(runs, id, 'run.json'), 'utf8'));
      return [
        { id, launcherPid, isAlive: readFileSync(join(runs, id, 'state'), 'utf8').startsWith('running') },
      ];
    } catch {
      // It is just being started.
      return [];
    }
  });
}

await scenarios[scenario]();
