// A warm server that forks: `forking.cjs SCENARIO`. What it finds out it prints as lines `NAME JSON`.
'use strict';
const { createHash, randomUUID } = require('node:crypto');
const http = require('node:http');
const os = require('node:os');
const { checkpoint, fork } = require('../../../forkpoint/dist/index.cjs');

const say = (name, value) => console.log(`${name} ${JSON.stringify(value)}`);
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
const warm = new Map(Array.from({ length: 10_000 }, (_, n) => [n, `entry ${n}`]));
let role = 'parent';
const server = http.createServer((request, response) => {
  response.setHeader('connection', 'close');
  response.end(`${role} ${warm.get(9_999)}`);
});
const listen = () => new Promise((done) => server.listen(0, '127.0.0.1', done));
const port = () => server.address().port;
const get = async (at) => await (await fetch(`http://127.0.0.1:${at ?? port()}`)).text();

/** Answers every message by what it was; commands are texts. */
function obey(channel, self) {
  role = `child ${self.index}`;
  const commands = {
    facts: () => ({
      self,
      env: process.env.COLOUR,
      host: os.hostname(),
      uuid: randomUUID(),
      random: Math.random(),
    }),
    exit: () => void setImmediate(() => process.exit(7)),
    print: () => process.stdout.write('printed\n') && process.stderr.write('complained\n'),
    echo: () => void process.stdin.once('data', (text) => channel.send(`stdin ${text}`)),
    image: async () => (await checkpoint(self.args[0])).outcome,
    fork: async () => {
      const mine = await fork({ stdio: 'ignore' });
      if (mine.role === 'child') {
        obey(mine.channel, mine.self);
        // The channel that this answer would go to is the parent's.
        return await new Promise(() => undefined);
      }
      mine.children[0].send('facts');
      const answer = await next(mine.children[0]);
      mine.children[0].kill('SIGKILL');
      return {
        generation: answer.self.generation,
        parent: answer.self.parentId,
        end: await mine.children[0].wait(),
      };
    },
  };
  channel.on('message', async (message) => {
    if (Buffer.isBuffer(message))
      channel.send({ bytes: message.length, digest: digest(message), back: message });
    else if (typeof message !== 'string') channel.send(message);
    else channel.send(await commands[message]());
  });
}

const next = (channel) => new Promise((done) => channel.once('message', done));
const ask = async (child, message) => {
  child.send(message);
  return await next(child);
};

/** What a child says on each of its streams. */
const printed = async (child) => {
  const streams = [child.stdout, child.stderr].map(
    (stream) => new Promise((done) => stream.once('data', done)),
  );
  await ask(child, 'print');
  return (await Promise.all(streams)).map(String);
};

const scenarios = {
  async identity() {
    await listen();
    const forked = await fork({
      count: 3,
      args: ['one', 'two'],
      env: { COLOUR: 'red' },
      stdio: 'pipe',
      hostname: 'clone-%i',
    });
    if (forked.role === 'child') return obey(forked.channel, forked.self);
    const { children, errors } = forked;
    say('errors', errors.length);
    say('parent', { pid: process.pid, uuid: randomUUID(), random: Math.random() });
    for (const child of children)
      say('facts', { id: child.id, pid: process.pid, ...(await ask(child, 'facts')) });
    const hits = new Set();
    while (hits.size < 4) hits.add(await get());
    say(
      'hits',
      [...hits].sort((a, b) => (a < b ? -1 : 1)),
    );
    say('streams', await printed(children[0]));
    await ask(children[0], 'echo');
    children[0].stdin.write('hello');
    say('stdin', await next(children[0]));
    say('again', await ask(children[1], 'fork'));
    children[0].send('exit');
    children[1].kill();
    children[2].kill('SIGKILL');
    say('ends', await Promise.all(children.map((child) => child.wait())));
    say('after', await get());
    return process.exit(0);
  },

  async channels() {
    const values = [
      new Map([['a', 1n]]),
      new Float64Array([1.5]),
      new RangeError('far'),
      new Date(0),
      { deep: [new Set([1])] },
    ];
    const forked = await fork({ count: 2, stdio: 'inherit', args: [process.argv[3]] });
    if (forked.role === 'child') return obey(forked.channel, forked.self);
    const [first, second] = forked.children;
    const back = [];
    for (const value of values) back.push(await ask(first, value));
    say(
      'values',
      back.map(
        (value) =>
          `${value.constructor.name} ${value.message ?? [...(value.entries?.() ?? [value.deep?.[0].size])]}`,
      ),
    );
    // 40 messages of 512 KB to each while this process forks again and a child is checkpointed.
    const sent = [];
    const got = { first: [], second: [] };
    first.on('message', (answer) => got.first.push(answer));
    second.on('message', (answer) => got.second.push(answer));
    const flood = async () => {
      for (let n = 0; n < 40; n++) {
        const bytes = Buffer.alloc(n === 20 ? 10_485_760 : 262_144, n + 1);
        sent.push(digest(bytes));
        await Promise.all([first.send(bytes), second.send(bytes)]);
        if (n === 30) await second.send('image');
      }
    };
    const flooding = flood();
    // In the clone it fails, because there the channels are closed.
    flooding.catch(() => undefined);
    const more = await fork({ stdio: 'ignore' });
    if (more.role === 'child') {
      // Here the first children belong to somebody else.
      const lost = await first.send('x').then(
        () => 'sent',
        (error) => error.code,
      );
      return more.channel.on('message', async () =>
        more.channel.send({ lost, end: await first.wait(), heard: got.first.length }),
      );
    }
    say('clone', await ask(more.children[0], 'go'));
    await flooding;
    const complete = () => got.first.length === 40 && got.second.length === 41;
    while (!complete()) await next(got.first.length < 40 ? first : second);
    const image = got.second.filter((answer) => typeof answer === 'string');
    say('image', image);
    for (const name of ['first', 'second']) {
      const answers = got[name].filter((answer) => typeof answer !== 'string');
      say(
        name,
        answers.every(({ digest: d, back: b }, n) => d === sent[n] && digest(b) === sent[n]),
      );
    }
    return process.exit(0);
  },

  /** Lives until it is ended, with a plain and a detached brood. */
  async lives() {
    await listen();
    const plain = await fork({ count: 2, stdio: 'ignore' });
    if (plain.role === 'child') return obey(plain.channel, plain.self);
    const detached = await fork({ stdio: 'pipe', detached: true });
    if (detached.role === 'child') {
      // Nobody reads it once the parent is gone.
      setInterval(() => console.log('x'.repeat(10_000)), 20);
      return obey(detached.channel, detached.self);
    }
    say(
      'plain',
      plain.children.map(({ id }) => id),
    );
    say(
      'detached',
      detached.children.map(({ id }) => id),
    );
    say('port', port());
    process.stdin.resume();
  },

  async options() {
    await listen();
    const taken = http.createServer((_, response) => response.end('taken'));
    await new Promise((done) => taken.listen(0, '127.0.0.1', done));
    const own = `127.0.0.1:${taken.address().port}`;
    taken.close();
    const partly = await fork({ count: 2, stdio: 'ignore', listen: { [port()]: own } });
    if (partly.role === 'child') return obey(partly.channel, partly.self);
    say('partly', { children: partly.children.length, errors: partly.errors.map(({ message }) => message) });
    say('own', await get(own.split(':')[1]));
    const piped = await fork({ stdio: 'pipe', listen: { '*': 'close' } });
    if (piped.role === 'child') return obey(piped.channel, piped.self);
    say('streams', await printed(piped.children[0]));
    const closed = await fork({ count: 1, stdio: 'ignore', listen: { '*': 'close' } });
    if (closed.role === 'child') return obey(closed.channel, closed.self);
    const hits = new Set();
    for (let n = 0; n < 20; n++) hits.add(await get());
    say('closed', [...hits]);
    const before = new AbortController();
    before.abort(new Error('changed my mind'));
    say('aborted', await fork({ signal: before.signal }).catch(({ message }) => message));
    const during = new AbortController();
    const late = fork({ count: 2, stdio: 'ignore', signal: during.signal });
    setTimeout(() => during.abort(new Error('too late')), 50);
    const result = await late.catch(({ message }) => message);
    if (result.role === 'child') return;
    say('late', result);
    say('wrong', await fork({ count: 0 }).catch(({ code }) => code));
    const two = await Promise.all([fork({ stdio: 'ignore' }), fork({ stdio: 'ignore' })]);
    const child = two.find(({ role }) => role === 'child');
    if (child !== undefined) return obey(child.channel, child.self);
    say(
      'both',
      two.map(({ children }) => children.length),
    );
    return process.exit(0);
  },
};

scenarios[process.argv[2]]().catch((error) => {
  console.error(error);
  process.exit(1);
});
