// A heap of more than 1 GiB: 700 MiB of random bytes in Buffers and the rest in objects and strings. SIGUSR1 prints a digest of all.
import { createHash, randomFillSync } from 'node:crypto';

const buffers = Array.from({ length: 700 }, () => randomFillSync(Buffer.alloc(1 << 20)));
const objects = new Map();
for (let i = 0; i < 1_000_000; i++)
  objects.set(i, { id: i, text: `object ${i} ${i * 7919}`, list: [i, i + 0.5] });
process.on('SIGUSR1', () => {
  const hash = createHash('sha1');
  for (const buffer of buffers) hash.update(buffer);
  let sum = 0;
  let text = 0;
  for (const [key, { id, text: words, list }] of objects) {
    sum += key * 3 + id + list[0] + list[1];
    text = (text * 31 + words.length + words.charCodeAt(words.length - 1)) >>> 0;
  }
  console.log(`digest ${hash.digest('hex')} ${objects.size} ${sum} ${text}`);
});
setInterval(() => undefined, 1000);
console.log('up');
