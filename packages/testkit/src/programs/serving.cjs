// A plain server that knows nothing of forkpoint. Tells which start of the program it comes from, and which process it is.
const { randomBytes, randomUUID } = require('node:crypto');
const { createServer } = require('node:http');

const start = randomBytes(4).toString('hex');
let identity;
const server = createServer((request, response) => {
  // Made at the first request, so that every worker has its own.
  identity ??= randomUUID();
  const words = `${start} ${identity} ${process.env.FORKPOINT_WORKER}`;
  setTimeout(() => response.end(words), 2);
});
server.listen(Number(process.env.PORT), '127.0.0.1', () => {
  console.log(`started ${start} at ${server.address().port}`);
});
