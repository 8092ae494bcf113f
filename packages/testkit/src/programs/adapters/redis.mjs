// ioredis or redis against Redis: `redis.mjs IMAGE LIBRARY PORT`. One client for commands, one that subscribes, one that waits at the server.
import { once } from 'node:events';
import { refusal, rounds, say } from './rounds.mjs';

const [, , image, library, port] = process.argv;
const clients = library === 'ioredis' ? await ofIoredis() : await ofRedis();
const { plain, idOf, subscribe, heard, watch, unwatch } = clients;

async function ofIoredis() {
  const { Redis } = await import('ioredis');
  const make = () => new Redis({ port: Number(port), host: '127.0.0.1' });
  const all = { plain: make(), subscriber: make(), waiting: make() };
  return {
    ...all,
    idOf: async (client) => await client.client('ID'),
    subscribe: async () => await all.subscriber.subscribe('news'),
    heard: async () => (await once(all.subscriber, 'message'))[1],
    wait: async () => await all.waiting.blpop('queue', 0),
    watch: async () => await all.plain.watch('key'),
    unwatch: async () => await all.plain.unwatch(),
    increment: async (key) => await all.plain.incr(key),
    pipeline: async () => (await all.plain.multi().set('a', '1').incr('a').exec()).map(([, value]) => value),
    publish: async (text) => await all.plain.publish('news', text),
    close: () => Object.values(all).map((client) => client.disconnect()),
  };
}

async function ofRedis() {
  const { createClient } = await import('redis');
  const make = async () => {
    const client = createClient({ socket: { port: Number(port), host: '127.0.0.1' } });
    client.on('error', (error) => say('complaint', error.message));
    return await client.connect();
  };
  const all = { plain: await make(), subscriber: await make(), waiting: await make() };
  const news = new EventTarget();
  return {
    ...all,
    idOf: async (client) => Number(await client.sendCommand(['CLIENT', 'ID'])),
    subscribe: async () => {
      await all.subscriber.subscribe('news', (text) =>
        news.dispatchEvent(new CustomEvent('message', { detail: text })),
      );
    },
    heard: async () => (await once(news, 'message'))[0].detail,
    wait: async () => await all.waiting.blPop('queue', 0),
    watch: async () => await all.plain.watch('key'),
    unwatch: async () => await all.plain.unwatch(),
    increment: async (key) => await all.plain.incr(key),
    pipeline: async () => await all.plain.multi().set('a', '1').incr('a').exec(),
    publish: async (text) => await all.plain.publish('news', text),
    close: () => Object.values(all).map((client) => client.destroy()),
  };
}

await subscribe();
// Nobody waits for it: it ends when something is in the queue.
void Promise.resolve(clients.wait()).catch((error) => {
  if (!leaving) say('complaint', `waiting: ${error.message}`);
});
let leaving = false;

async function use(phase) {
  const news = heard();
  // A publication reaches everybody who listens by then, of all processes: in a clone that may take a moment.
  const timer = setInterval(() => clients.publish(`to ${phase}`), 50);
  await news;
  clearInterval(timer);
  return {
    id: await idOf(plain),
    counted: await clients.increment(`${phase} of ${image}`),
    pipeline: (await clients.pipeline()).map(String),
  };
}

await watch();
say('refused', await refusal(`${image}-refused`));
await unwatch();
// Many commands without an answer yet, at the moment in which the checkpoint is asked for.
const burst = Array.from({ length: 200 }, () => clients.increment(`burst of ${image}`));
await rounds({
  use,
  leave: async () => {
    say('burst', Math.max(...(await Promise.all(burst))));
    leaving = true;
    clients.close();
  },
});
process.exit(0);
