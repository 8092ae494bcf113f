// A Fastify server that knows nothing of forkpoint. GET / tells what a clone must not share with its siblings.
const crypto = require('node:crypto');
const fastify = require('fastify')();

const cache = new Map();
for (let i = 0; i < 20_000; i++) cache.set(`key ${i}`, { i, text: `value ${i}` });
let hits = 0;
let token = 'none';
let ballast = [];
// A timer that runs, seldom: dozens of clones live side by side.
setInterval(() => cache.get('key 7'), 500);

fastify.get('/', () => ({
  hits: ++hits,
  pid: process.pid,
  size: cache.size,
  color: process.env.COLOR ?? null,
}));
fastify.get('/item/:id', (request) => cache.get(`key ${request.params.id}`));
fastify.get('/token', () => ({ token, ballast: ballast.length }));
fastify.get('/token/:token', (request) => ({ token: (token = request.params.token) }));
// So many MiB, so that an image is larger or smaller than the one before.
fastify.get('/ballast/:count', (request) => {
  ballast = Array.from({ length: Number(request.params.count) }, (_, i) =>
    crypto.randomBytes(1 << 20).fill(i, 0, 9),
  );
  return { count: ballast.length };
});
fastify.get('/random', () => ({
  random: Math.random(),
  uuid: crypto.randomUUID(),
  int: crypto.randomInt(2 ** 47),
  bytes: crypto.randomBytes(16).toString('hex'),
  values: [...crypto.getRandomValues(new Uint32Array(4))],
}));
fastify.get('/state', () => ({ uptime: process.uptime(), cwd: process.cwd(), uid: process.getuid() }));
process.on('SIGTERM', () => process.exit(42));
fastify
  .listen({ port: Number(process.env.PORT ?? 0), host: '127.0.0.1' })
  .then((address) => console.log(`listening on ${address}`));
