// The example server with what a stopwatch needs: a 1 ms timer that writes one line to the FIFO named by BENCH_FIFO as
// soon as somebody has it open for reading, BENCH_WARM requests to itself before that, and a way to end it.
const fs = require('node:fs');
const app = require('../../examples/server.cjs');

app.get('/quit', () => setImmediate(() => process.exit(0)) && 'bye');

function tick() {
  let fifo;
  try {
    fifo = fs.openSync(process.env.BENCH_FIFO, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
    fs.writeSync(fifo, 'first callback\n');
  } catch {
    // Nobody reads, or nobody reads any more: who waited has got the line of an earlier tick.
  } finally {
    if (fifo !== undefined) fs.closeSync(fifo);
  }
}

app.server.once('listening', async () => {
  for (let i = 0; i < Number(process.env.BENCH_WARM); i++)
    await app.inject(['/item/7', '/search/lamp', '/random'][i % 3]);
  setInterval(tick, 1);
});
