// A shop's catalogue, served by Fastify; it knows nothing of forkpoint. Usage: PORT=3000 forkpoint run -- node server.cjs
const crypto = require('node:crypto');
const app = require('fastify')();

// What makes a start slow in real programs: code to load, data to read, an index to build.
const items = [];
const words = new Map();
for (let id = 0; id < 40_000; id++) {
  const name =
    ['red', 'blue', 'green', 'grey'][id % 4] + ' ' + ['lamp', 'chair', 'table', 'shelf', 'rug'][id % 5];
  const item = { id, name, cents: (id * 7919) % 50_000, stock: (id * 31) % 17 };
  items.push(item);
  for (const word of name.split(' ')) {
    if (!words.has(word)) words.set(word, []);
    words.get(word).push(item);
  }
}

let hits = 0;
const number = { type: 'integer' };
const itemSchema = {
  type: 'object',
  properties: { id: number, name: { type: 'string' }, cents: number, stock: number },
};
const answer = (schema) => ({ schema: { response: { 200: schema } } });

app.get('/item/:id', answer(itemSchema), (request) => items[request.params.id]);
app.get('/search/:word', answer({ type: 'array', items: itemSchema }), ({ params }) =>
  (words.get(params.word) ?? []).toSorted((a, b) => a.cents - b.cents).slice(0, 20),
);
app.get('/hits', () => ({ hits: ++hits }));
app.get('/random', () => ({ uuid: crypto.randomUUID(), number: Math.random() }));

app
  .listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })
  .then((address) => console.log(`listening on ${address}`));
module.exports = app;
