// memjs against memcached: a library that has no adapter.
import memjs from 'memjs';
import { rounds } from './rounds.mjs';

const [, , , host, port] = process.argv;
const client = memjs.Client.create(`${host}:${port}`, {
  retries: 3,
  logger: { log: (line) => say('log', line) },
});
await client.set('warm', 'before', {});
await rounds({
  use: async (phase) => {
    await client.set(`of ${phase}`, phase, {});
    return [String((await client.get('warm')).value), String((await client.get(`of ${phase}`)).value)];
  },
  leave: () => client.close(),
});
