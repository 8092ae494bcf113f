const Koa = require('koa');
const { Router } = require('@koa/router');
const { values } = require('./values.cjs');

const app = new Koa();
const router = new Router();
let visits = 0;
router.get('/', (context) => (context.body = { hello: 'koa', visits: ++visits }));
router.get(
  '/item/:id',
  (context) => (context.body = { id: Number(context.params.id), square: context.params.id ** 2 }),
);
router.get('/random', (context) => (context.body = values()));
app.use(router.routes());
const server = app.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
