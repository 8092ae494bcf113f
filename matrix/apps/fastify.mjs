import fastify from 'fastify';
import { values } from './values.cjs';

const app = fastify();
const schema = {
  response: { 200: { type: 'object', properties: { id: { type: 'integer' }, square: { type: 'integer' } } } },
};
let visits = 0;
app.get('/', () => ({ hello: 'fastify', visits: ++visits }));
app.get('/item/:id', { schema }, (request) => ({ id: request.params.id, square: request.params.id ** 2 }));
app.post('/echo', (request) => request.body);
app.get('/random', () => values());
console.log(`listening on ${await app.listen({ port: Number(process.env.PORT ?? 0), host: '127.0.0.1' })}`);
