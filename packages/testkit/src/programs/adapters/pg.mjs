// pg against PostgreSQL: a pool, a client, and a client of a pool that is kept.
import { once } from 'node:events';
import { adapt } from 'forkpoint/adapters/pg';
import pg from 'pg';
import { refusal, rounds, say } from './rounds.mjs';

const [, , image, host, port, socket] = process.argv;
// Only a bundle needs it.
if (process.env.ADAPT === '1') adapt(pg);
const config = { user: 'tester', database: 'postgres', port: Number(port) };
const pool = new pg.Pool({ ...config, host, max: 3 });
const single = new pg.Client({ ...config, host: socket });
const kept = await pool.connect();
await single.connect();
await single.query("SET application_name = 'single of the test'");
await single.query('LISTEN news');
for (const [name, one] of Object.entries({ pool, single, kept })) {
  one.on('error', (error) => say('complaint', `${name}: ${error.message}`));
}
const pidOf = async (one) => (await one.query('select pg_backend_pid() as pid')).rows[0].pid;
const statement = { name: 'twice', text: 'select $1::int * 2 as twice' };

async function use() {
  const pids = await Promise.all([pidOf(pool), pidOf(pool)]);
  const [twice] = (await single.query({ ...statement, values: [21] })).rows;
  const heard = once(single, 'notification');
  await pool.query("select pg_notify('news', 'hello')");
  const [{ payload }] = await heard;
  const [{ application_name: name }] = (await single.query('SHOW application_name')).rows;
  return {
    pool: pids,
    single: await pidOf(single),
    kept: await pidOf(kept),
    twice: twice.twice,
    payload,
    name,
  };
}

// What is under way is waited for, and new work with it.
const slow = pool.query('select pg_sleep(0.4), 5 as answer');
await kept.query('begin');
say('refused', await refusal(`${image}-refused`));
await kept.query('commit');
say('slow', (await slow).rows[0].answer);
const running = pool
  .query('select pg_sleep(0.3), 6 as answer')
  .then(({ rows }) => say('waited', rows[0].answer));
await rounds({
  use,
  leave: async () => {
    await running;
    kept.release();
    await Promise.all([pool.end(), single.end()]);
  },
});
