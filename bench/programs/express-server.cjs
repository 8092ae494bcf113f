// An Express server as they are: routes with parameters, a body parser, a session in memory, pages made from text, errors. PORT is
// where it listens; BENCH_MB adds so many megabytes of objects to its heap.
const express = require('express');

const app = express();
app.use(express.json());
const sessions = new Map();
app.use((request, response, next) => {
  const id = request.get('x-session') ?? `guest-${sessions.size % 500}`;
  const session = sessions.get(id) ?? { id, since: Date.now(), seen: [] };
  session.seen = [...session.seen.slice(-20), request.path];
  sessions.set(id, session);
  request.session = session;
  next();
});
const products = Array.from({ length: 5000 }, (_, id) => ({
  id,
  name: `thing ${id}`,
  text: `A thing of ${id % 7} kinds and ${id * 31} uses`.repeat(1 + (id % 3)),
  tags: [`t${id % 11}`, `u${id % 13}`],
}));
const kept = [];
while (process.memoryUsage().heapUsed < Number(process.env.BENCH_MB ?? 0) * 2 ** 20)
  kept.push(
    Array.from({ length: 500 }, (_, i) => ({
      i,
      ...products[(kept.length * 500 + i) % 5000],
      at: Math.random(),
    })),
  );

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
app.get('/', (request, response) => {
  const rows = products
    .slice(0, 50)
    .map(({ id, name }) => `<li><a href="/product/${id}">${escape(name)}</a>`);
  response
    .type('html')
    .send(`<!doctype html><title>Shop</title><ul>${rows.join('')}</ul>${request.session.id}`);
});
app.get('/product/:id', (request, response) => {
  const product = products[Number(request.params.id)];
  if (product === undefined) throw Object.assign(new Error('no such thing'), { status: 404 });
  response.json({ ...product, kept: kept.length });
});
app.post('/search', (request, response) => {
  const words = String(request.body?.words ?? '').toLowerCase();
  response.json(products.filter(({ text }) => text.toLowerCase().includes(words)).slice(0, 20));
});
app.use((error, request, response, next) => {
  void next;
  response.status(error.status ?? 500).json({ error: error.message, path: request.path });
});
const server = app.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () =>
  console.log(`port ${server.address().port}`),
);
