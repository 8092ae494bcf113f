// Counts lines, and takes a checkpoint of itself after 3 and after 7. Usage: forkpoint run --to DEST -- node counter.mjs [DEST]
// Core.checkpointRestore() ends this process once the image is complete; it returns in the process restored from the image.
// Without an argument the image goes where --to of `forkpoint run` or `forkpoint restore` says.
import { setTimeout as pause } from 'node:timers/promises';
import { Core } from 'forkpoint';

const destination = process.argv[2];
let line = 0;

async function count(lines) {
  for (const end = line + lines; line < end;) {
    console.log(`line ${++line}`);
    await pause(20);
  }
}

async function checkpoint() {
  try {
    const { generation, elapsedMs } = await Core.checkpointRestore(destination);
    console.log(
      `restored: generation ${generation}, ${(elapsedMs / 1000).toFixed(1)} s after the checkpoint`,
    );
  } catch (error) {
    console.log(`${error.name}: ${error.message}`);
  }
}

await count(3);
await checkpoint();
await count(4);
await checkpoint();
await count(3);
