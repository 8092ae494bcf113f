// A warm Node program: BENCH_MB megabytes of plain objects. Looks every millisecond whether the FIFO of BENCH_FIFO has a
// reader: then it writes its first line, then a digest of its memory and the number of its areas, and ends.
const fs = require('node:fs');

const target = Number(process.env.BENCH_MB) * 2 ** 20;
const lists = [];
for (let i = 0; process.memoryUsage().heapUsed < target;) {
  const list = [];
  for (const end = i + 20_000; i < end; i++)
    list.push({ i, name: `item ${i}`, next: list.at(-1) ?? null, tags: [i, i + 1] });
  lists.push(list);
}

/** Every eleventh object: enough to notice a page that is not the right one. */
function digest() {
  let sum = 0;
  for (const list of lists) {
    for (let i = 0; i < list.length; i += 11)
      sum = (Math.imul(sum, 31) + list[i].i + list[i].name.length + list[i].tags[1]) | 0;
  }
  return (sum >>> 0).toString(16).padStart(8, '0');
}

function tick() {
  let fifo;
  try {
    fifo = fs.openSync(process.env.BENCH_FIFO, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  } catch {
    // Nobody reads.
    return;
  }
  fs.writeSync(fifo, 'first callback\n');
  const areas = fs.readFileSync('/proc/self/maps', 'utf8').split('\n').length - 1;
  fs.writeSync(fifo, `digest ${digest()} ${areas}\n`);
  process.exit(0);
}

setInterval(tick, 1);
console.log(`ready ${digest()}`);
