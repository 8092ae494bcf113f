// Two workers behind one port. Every process prints its random values again and again: `draws ROLE VALUE...`.
const cluster = require('node:cluster');
const crypto = require('node:crypto');
const { createServer } = require('node:http');

const role = cluster.isPrimary ? 'primary' : process.env.ROLE;
const draw = () => {
  const values = [
    crypto.randomBytes(8).toString('hex'),
    crypto.randomUUID(),
    crypto.randomInt(2 ** 47),
    ...crypto.getRandomValues(new BigUint64Array(1)),
    Math.random(),
  ];
  console.log(`draws ${role} ${values.join(' ')}`);
};
draw();
setInterval(draw, 25);

if (cluster.isPrimary) {
  let born = 0;
  const start = () => {
    const worker = cluster.fork({ ROLE: `worker${++born}` });
    worker.on('message', () => worker.send('at your service'));
  };
  cluster.on('exit', () => {
    console.log('a worker has ended');
    start();
  });
  cluster.once('listening', (_worker, { port }) => console.log(`listening on http://127.0.0.1:${port}`));
  start();
  start();
} else {
  const waiting = [];
  process.on('message', (primary) => waiting.shift()?.end(JSON.stringify({ pid: process.pid, primary })));
  createServer((request, response) => {
    if (request.url === '/die') process.exit(1);
    waiting.push(response);
    process.send('ask');
  }).listen(0, '127.0.0.1');
}
