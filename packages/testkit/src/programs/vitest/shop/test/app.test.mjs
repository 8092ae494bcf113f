import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { app } from '../src/app.mjs';

let server;
beforeAll(async () => {
  server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => server.close());

test('an item is served', async () => {
  console.log('asking for tea');
  console.error('and complaining');
  const response = await fetch(`http://127.0.0.1:${server.address().port}/item/tea`);
  expect(await response.json()).toEqual({ name: 'tea', price: '12.50 EUR', left: 3, served: 1 });
});

let attempts = 0;
test('the second attempt is right', { retry: 2 }, () => {
  attempts++;
  expect(attempts).toBe(2);
});

test('too slow', { timeout: 50 }, async () => {
  await new Promise((resolve) => setTimeout(resolve, 5000));
});
