// The counter of the mail thread: stages of lines with checkpoints between them. Usage: counter.mjs DEST|-...
// Every DEST is a checkpoint that ends this process; `-` uses the destination of the command line.
import { Core } from 'forkpoint';

let line = 0;
const stage = async (count) => {
  for (let i = 0; i < count; i++) {
    console.log(`line ${++line}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

await stage(3);
for (const dest of process.argv.slice(2)) {
  try {
    const context = await Core.checkpointRestore(dest === '-' ? undefined : dest);
    console.log(`restored generation ${context.generation} args ${JSON.stringify(context.args)}`);
  } catch (error) {
    console.log(`${error.name} ${error.code}`);
  }
  await stage(4);
}
console.log('end');
process.exitCode = 7;
