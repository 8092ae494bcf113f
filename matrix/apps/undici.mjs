import { createServer } from 'node:http';
import { Agent, request, setGlobalDispatcher } from 'undici';
import { serve } from './plain.cjs';

setGlobalDispatcher(new Agent({ connections: 4, keepAliveTimeout: 60_000 }));
// The program is its own upstream: the pool's connections have both ends in it.
const upstream = createServer((incoming, response) => response.end(JSON.stringify({ path: incoming.url })));
await new Promise((resolve) => upstream.listen(0, '127.0.0.1', resolve));
const ask = async (base, path) => await (await request(`${base}${path}`)).body.json();
serve({
  '/own': (query) => ask(`http://127.0.0.1:${upstream.address().port}`, `/${query.get('path')}`),
  '/outside': (query) => ask(process.env.UPSTREAM, `/${query.get('path')}`),
});
