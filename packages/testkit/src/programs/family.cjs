// A Node process with children of every kind, asked over HTTP. Usage: family.cjs
// Every Node process of it prints its random values again and again: `draws ROLE VALUE...`.
const { fork, spawn } = require('node:child_process');
const crypto = require('node:crypto');
const { createServer } = require('node:http');
const { createInterface } = require('node:readline');
const { Core, checkpoint } = require('forkpoint');

const role = process.argv[2] ?? 'parent';
const counts = { before: 0, after: 0 };
let refusal = null;
// Resources are held weakly.
globalThis.resource = {
  beforeCheckpoint() {
    counts.before++;
    if (refusal !== null) throw new Error(refusal);
  },
  afterRestore() {
    counts.after++;
  },
};
Core.getGlobalContext().register(globalThis.resource);

function draw() {
  const values = [
    crypto.randomBytes(8).toString('hex'),
    crypto.randomUUID(),
    crypto.randomInt(2 ** 47),
    ...crypto.getRandomValues(new BigUint64Array(1)),
    Math.random(),
  ];
  console.log(`draws ${role} ${values.join(' ')}`);
}
draw();
setInterval(draw, 25);

async function own(dest) {
  try {
    return (await checkpoint(dest)).outcome;
  } catch (error) {
    return `${error.code}: ${error.message}`;
  }
}

/** Returns a function that writes a line to a child and resolves with the line it answers. */
function conversation(child) {
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async (line) => {
    child.stdin.write(`${line}\n`);
    return (await answers.next()).value;
  };
}

function parent() {
  // An environment of its own, without anything that forkpoint has put into its parent's.
  const child = fork(__filename, ['child'], { env: { ROLE: 'child' } });
  const waiting = new Map();
  let last = 0;
  let pushed = 0;
  child.on('message', ({ id, answer, push }) => {
    if (push === true) pushed++;
    else waiting.get(id)?.(answer);
  });
  const ask = (question) =>
    new Promise((resolve) => {
      waiting.set(++last, resolve);
      child.send({ id: last, ...question });
    });
  const cat = conversation(spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] }));
  const script = 'while read -r line; do echo "$line" | tr a-z A-Z | cat; done';
  const shell = conversation(spawn('sh', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] }));
  const sleeper = spawn('sleep', ['1000']);
  const answers = {
    '/': async () => ({
      child: await ask({ what: 'echo', value: 'hello' }),
      cat: await cat('through a pipe'),
      shell: await shell('a pipeline'),
      sleeps: sleeper.exitCode === null && sleeper.signalCode === null,
      pushed,
    }),
    '/counts': async () => ({
      parent: counts,
      child: await ask({ what: 'counts' }),
      pid: process.pid,
      childPid: child.pid,
    }),
    '/both': async () => await Promise.all([own('./by-parent'), ask({ what: 'own', value: './by-child' })]),
    '/child': async () => await ask({ what: 'own', value: './by-child' }),
    '/refuse': async () => await ask({ what: 'refuse', value: 'the child has a visitor' }),
    '/allow': async () => await ask({ what: 'refuse', value: null }),
  };
  createServer((request, response) => {
    answers[request.url]().then(
      (answer) => response.end(JSON.stringify(answer)),
      (error) => response.end(JSON.stringify(String(error))),
    );
  }).listen(0, '127.0.0.1', function () {
    console.log(`listening on http://127.0.0.1:${this.address().port}`);
  });
}

function child() {
  process.on('message', async ({ id, what, value }) => {
    let answer = value;
    if (what === 'counts') answer = counts;
    if (what === 'own') answer = await own(value);
    if (what === 'refuse') refusal = value;
    process.send({ id, answer });
  });
  process.on('disconnect', () => process.exit(0));
  setInterval(() => process.send({ push: true }), 50);
}

if (role === 'parent') parent();
else child();
