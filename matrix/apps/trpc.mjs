import { initTRPC } from '@trpc/server';
import { createHTTPServer } from '@trpc/server/adapters/standalone';
import { values } from './values.cjs';

const t = initTRPC.create();
let visits = 0;
const router = t.router({
  visit: t.procedure.mutation(() => ++visits),
  square: t.procedure.input((value) => Number(value)).query(({ input }) => input ** 2),
  random: t.procedure.query(() => values()),
});
const server = createHTTPServer({ router });
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
