// pg without an adapter: what the library itself says of connections that have gone.
import pg from 'pg';
import { rounds, say } from './rounds.mjs';

const [, , , host, port] = process.argv;
const config = { user: 'tester', database: 'postgres', port: Number(port), host };
const pool = new pg.Pool(config);
const single = new pg.Client(config);
await single.connect();
for (const [name, one] of Object.entries({ pool, single })) {
  one.on('error', (error) => say('complaint', `${name}: ${error.message}`));
}
const pidOf = async (one) =>
  await one.query('select pg_backend_pid() as pid').then(
    ({ rows }) => rows[0].pid,
    (error) => error.message,
  );
const use = async () => ({ pool: await pidOf(pool), single: await pidOf(single) });
await rounds({ use, leave: async () => await Promise.allSettled([pool.end(), single.end()]), children: 1 });
