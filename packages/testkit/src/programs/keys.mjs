// Reads keys as a program with a screen of its own does: `s` tells about its terminal, `c` checkpoints it into ./keys and ends it.
import { Core } from 'forkpoint';

const state = () => {
  const { stdin, stdout } = process;
  console.log(
    `terminal ${stdout.isTTY === true} ${stdout.columns}x${stdout.rows} raw ${stdin.isRaw} input ${stdin.isTTY === true}`,
  );
};
const acts = {
  s: state,
  async c() {
    await Core.checkpointRestore('./keys');
    console.log('restored');
  },
  q: () => process.exit(4),
};
process.stdin.setRawMode(true);
process.stdin.on('data', (text) => {
  for (const key of String(text)) acts[key]?.();
});
process.stdout.on('resize', () => console.log('resized'));
console.log('reading keys');
