// Ends in an image; a clone prints one line as soon as it runs, and then answers each line with one.
'use strict';
const { join } = require('node:path');
const { Core } = require(join(__dirname, '../../packages/forkpoint/dist/index.cjs'));

// The paths that a clone goes first have been gone before.
process.stdout.write('warm\n', async () => {
  await Core.checkpointRestore(process.argv[2]);
  process.stdout.write(`${Core.args[0]}\n`);
  process.stdin.on('data', (text) => process.stdout.write(text));
});
