// Proves that it lives: each SIGUSR1 is answered with a line. Usage: pulse.mjs [big MB | throw | hang]...
// SIGUSR2 asks for a checkpoint into ./own and says what came of it. MODE busy: SIGWINCH starts a loop that never ends.
import { createHash, randomFillSync } from 'node:crypto';
import { Core, checkpoint } from 'forkpoint';

const modes = process.argv.slice(2);
let beats = 0;
const blocks = [];
if (modes[0] === 'big') {
  for (let i = 0; i < Number(modes[1]); i++) blocks.push(randomFillSync(Buffer.alloc(1 << 20)));
}
const digest = () =>
  blocks
    .reduce((hash, block) => hash.update(block), createHash('sha256'))
    .digest('hex')
    .slice(0, 16);
// Resources are held weakly.
globalThis.resource = {
  async beforeCheckpoint() {
    if (modes.includes('throw')) throw new Error('the database is busy');
    if (modes.includes('hang')) await new Promise(() => undefined);
  },
  afterRestore() {
    console.log('after');
  },
};
Core.getGlobalContext().register(globalThis.resource);
process.on('SIGUSR1', () => console.log(`beat ${++beats} ${digest()}`));
process.on('SIGUSR2', () => {
  checkpoint('./own').then(
    ({ outcome }) => console.log(`own ${outcome}`),
    (error) => console.log(`own failed ${error.code} ${error.message}`),
  );
});
process.on('SIGWINCH', () => {
  console.log('busy');
  for (;;);
});
setInterval(() => undefined, 1000);
console.log('up');
