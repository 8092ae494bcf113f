// Two Node processes that take part in checkpoints, for tests that kill one of them. Usage: pair.cjs [MB]
// The parent starts its child again whenever that ends. The child's before hook waits for as long as the file ./shut is
// there. SIGUSR1 is answered, when both are well, with `beat N DIGEST-OF-THE-CHILD'S-MEMORY`.
const { fork } = require('node:child_process');
const { createHash, randomFillSync } = require('node:crypto');
const { existsSync } = require('node:fs');
const { Core } = require('forkpoint');

function parent() {
  let child;
  let beats = 0;
  const start = () => {
    child = fork(__filename, ['child', process.argv[2] ?? '1']);
    child.on('message', ({ digest }) => console.log(`beat ${++beats} ${digest}`));
    child.once('exit', start);
  };
  start();
  process.on('SIGUSR1', () => child.connected && child.send({}));
  setInterval(() => undefined, 1000);
}

function member(megabytes) {
  const memory = Buffer.alloc(megabytes << 20);
  let generation = 0;
  // Every page is the program's own again, so that the dump of a clone takes as long as the first one.
  const fill = () => randomFillSync(memory);
  fill();
  // Resources are held weakly.
  globalThis.resource = {
    async beforeCheckpoint() {
      console.log('hook begins');
      while (existsSync('shut')) await new Promise((resolve) => setTimeout(resolve, 2));
      console.log('hook ends');
    },
    afterRestore(context) {
      if (context.generation === generation) return;
      generation = context.generation;
      fill();
      console.log('filled');
    },
  };
  Core.getGlobalContext().register(globalThis.resource);
  process.on('message', () =>
    process.send({ digest: createHash('sha256').update(memory).digest('hex').slice(0, 16) }),
  );
  process.on('disconnect', () => process.exit(0));
  console.log('up');
}

if (process.argv[2] === 'child') member(Number(process.argv[3]));
else parent();
