// Forks two children when it gets SIGUSR1, and ends those that it has for SIGUSR2: `brood.cjs`. Says `forked N M` (children and
// errors) or `failed CODE`, and `well N`.
'use strict';
const { fork } = require('forkpoint');

const memory = new Map(Array.from({ length: 1000 }, (_, n) => [n, `entry ${n}`]));
let children = [];
let count = 0;

async function brood() {
  const forked = await fork({ count: 2, stdio: 'ignore' }).catch((error) => error);
  if (forked instanceof Error) return console.log(`failed ${forked.code}`);
  if (forked.role === 'child') return setInterval(() => memory.get(999), 1000);
  children = forked.children;
  console.log(`forked ${children.length} ${forked.errors.length}`);
  return undefined;
}

async function end() {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(children.map((child) => child.wait()));
  children = [];
  console.log(`well ${memory.size} ${++count}`);
}

process.on('SIGUSR1', () => void brood());
process.on('SIGUSR2', () => void end());
setInterval(() => undefined, 60_000);
console.log('up');
