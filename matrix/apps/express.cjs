const express = require('express');
const { values } = require('./values.cjs');

const app = express();
let visits = 0;
app.use(express.json());
app.get('/', (request, response) => response.json({ hello: 'express', visits: ++visits }));
app.get('/item/:id', (request, response) =>
  response.json({ id: Number(request.params.id), square: request.params.id ** 2 }),
);
app.post('/echo', (request, response) => response.json(request.body));
app.get('/random', (request, response) => response.json(values()));
const server = app.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
