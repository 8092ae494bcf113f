// Answers the lines of its standard input. `checkpoint DEST` ends it with an image; `quit CODE` ends it without.
import { createInterface } from 'node:readline';
import { Core } from 'forkpoint';

console.log(`ready on ${process.stdin.isTTY === true ? 'a terminal' : 'no terminal'}`);
for await (const line of createInterface({ input: process.stdin, terminal: false })) {
  const [word, value = ''] = line.trim().split(' ');
  if (word === 'quit') process.exit(Number(value));
  if (word === 'checkpoint') {
    await Core.checkpointRestore(value);
    console.log('restored');
  } else {
    console.log(`echo ${line}`);
  }
}
console.log('end of input');
