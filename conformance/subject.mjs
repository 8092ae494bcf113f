// The subject of the conformance script in Node.js; README.md of this directory says what each scenario has to print.
import { randomUUID, randomBytes } from 'node:crypto';
import { checkpoint, Core, fork } from 'forkpoint';

const [scenario, ...words] = process.argv.slice(2);
const say = (...parts) => process.stdout.write(`${parts.join(' ')}\n`);

class Hook {
  constructor(name, fails = {}) {
    this.name = name;
    this.fails = fails;
  }
  beforeCheckpoint() {
    say('before', this.name);
    if (this.fails.before) throw new Error(`boom ${this.name}`);
  }
  afterRestore() {
    say('after', this.name);
    this.isTold = true;
    if (this.fails.after) throw new Error(`boom ${this.name}`);
  }
}

const kept = [];
const register = (hook) => {
  kept.push(hook);
  Core.getGlobalContext().register(hook);
};

async function attempt(ask) {
  try {
    return await ask();
  } catch (error) {
    say('failed', error.code, String(error.message).includes('boom') ? 'boom' : '-');
    return undefined;
  }
}

const scenarios = {
  async hooks() {
    for (const name of ['a', 'b', 'c']) register(new Hook(name));
    await Core.checkpointRestore(words[0]);
    say('restored', Core.args.join(','), process.env.FLAVOUR ?? '-');
  },
  async before() {
    register(new Hook('a', { before: true }));
    register(new Hook('b'));
    await attempt(() => checkpoint(words[0]));
    say('alive');
  },
  async after() {
    register(new Hook('a', { after: true }));
    register(new Hook('b'));
    await attempt(() => checkpoint(words[0]));
    say('alive');
  },
  async dump() {
    register(new Hook('a'));
    await attempt(() => checkpoint(words[0]));
    say('alive');
    const { outcome } = await checkpoint(words[1]);
    say(outcome);
  },
  async nested() {
    register({ beforeCheckpoint: () => attempt(() => checkpoint(words[0])), afterRestore: () => undefined });
    const { outcome } = await checkpoint(words[0]);
    say(outcome);
  },
  async chain() {
    for (let count = 1; count <= 5; count++) {
      const context = await Core.checkpointRestore(words[0]);
      say('generation', context.generation, 'count', count);
    }
  },
  async destinations() {
    for (const to of [...words, undefined]) {
      const result = await checkpoint(to);
      say(result.outcome, result.image);
    }
  },
  async outside() {
    const hook = new Hook('a');
    register(hook);
    say('up');
    await new Promise((resolve) =>
      setInterval(() => hook.isTold && Core.args.includes('end') && resolve(), 20),
    );
    say('end');
    process.exit(0);
  },
  async unique() {
    Math.random();
    randomUUID();
    await Core.checkpointRestore(words[0]);
    for (let i = 0; i < 20; i++) say(`token ${Math.random()}`);
    say(`strong ${randomUUID()}`);
    say(`strong ${randomBytes(8).toString('hex')}`);
  },
  async fork() {
    register(new Hook('a'));
    for (const count of [3, 1]) {
      const forked = await fork({ count });
      if (forked.role === 'child') {
        say('child', forked.self.index, Math.random());
        process.exit(10 + forked.self.index);
      }
      const ends = await Promise.all(forked.children.map((child) => child.wait()));
      say('ended', ends.map(({ code }) => code).join(','));
    }
  },
  async alone() {
    say('implemented', Core.isImplemented());
    await attempt(() => checkpoint(words[0]));
  },
};

await scenarios[scenario]();
