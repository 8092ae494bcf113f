// mysql2 against MariaDB: a pool, a connection, and a connection of a pool that is kept.
import mysql from 'mysql2/promise';
import { refusal, rounds, say } from './rounds.mjs';

const [, , image, host, port, directory] = process.argv;
const config = { user: 'tester', port: Number(port) };
const pool = mysql.createPool({ ...config, host, connectionLimit: 3 });
const single = await mysql.createConnection({ ...config, socketPath: `${directory}/socket` });
const kept = await pool.getConnection();
await single.query("SET time_zone = '+03:00'");
await single.query('SET @colour = 7');
await single.query('CREATE DATABASE IF NOT EXISTS shop');
await single.query('USE shop');
for (const [name, one] of Object.entries({ single, kept })) {
  one.on('error', (error) => say('complaint', `${name}: ${error.message}`));
}
const idOf = async (one) => (await one.query('select connection_id() as id'))[0][0].id;

async function use() {
  const pooled = await Promise.all([idOf(pool), idOf(pool)]);
  const [[{ twice }]] = await single.execute('select ? * 2 as twice', [21]);
  const [[state]] = await single.query('select @@time_zone as zone, @colour as colour, database() as name');
  return { pool: pooled, single: await idOf(single), kept: await idOf(kept), twice: Number(twice), state };
}

const slow = pool.query('select sleep(0.4), 5 as answer');
await kept.beginTransaction();
say('refused', await refusal(`${image}-refused`));
await kept.commit();
say('slow', (await slow)[0][0].answer);
const running = pool.query('select sleep(0.3), 6 as answer').then(([rows]) => say('waited', rows[0].answer));
await rounds({
  use,
  leave: async () => {
    await running;
    kept.release();
    await Promise.all([pool.end(), single.end()]);
  },
});
