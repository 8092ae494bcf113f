// Forks as often as it is told, one child at a time, which answers once and is ended: `generations.cjs COUNT [EVERY]`. After each
// EVERY forks it says `done N JSON` with what it holds itself and goes on when a line comes.
'use strict';
const fs = require('node:fs');
const { once } = require('node:events');
const { createInterface } = require('node:readline');
const { fork } = require('forkpoint');

const [count, every] = process.argv.slice(2).map(Number);

async function forkOnce(n) {
  const forked = await fork({ stdio: 'ignore' });
  if (forked.role === 'child') {
    forked.channel.on('message', (value) => forked.channel.send(value + 1));
    return false;
  }
  const [child] = forked.children;
  const answer = once(child, 'message');
  await child.send(n);
  if ((await answer)[0] !== n + 1) throw new Error('another answer');
  child.kill('SIGKILL');
  const { signal } = await child.wait();
  if (signal !== 'SIGKILL') throw new Error(`ended by ${signal}`);
  return true;
}

async function main() {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  for (let n = 1; n <= count; n++) {
    // A child does nothing but answer.
    if (!(await forkOnce(n))) return;
    if (n % every !== 0) continue;
    global.gc();
    const { heapUsed, external } = process.memoryUsage();
    const fds = fs.readdirSync('/proc/self/fd').length;
    console.log(`done ${n} ${JSON.stringify({ heap: heapUsed + external, fds })}`);
    await lines.next();
  }
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
