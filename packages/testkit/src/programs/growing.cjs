// A server that keeps some megabytes for each request of /grow, and holds an answer back for as long as /slow?ms=N says.
const { createServer } = require('node:http');

const kept = [];
const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const worker = process.env.FORKPOINT_WORKER;
  if (pathname === '/grow') kept.push(Buffer.alloc(16 << 20, 1));
  if (pathname === '/block') for (;;);
  setTimeout(() => response.end(`${worker} ${process.pid}`), Number(searchParams.get('ms') ?? 0));
});
server.listen(Number(process.env.PORT), '127.0.0.1');
