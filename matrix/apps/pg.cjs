const { Pool } = require('pg');
const { serve } = require('./plain.cjs');

const pool = new Pool({ connectionString: process.env.POSTGRES_URL, max: 4 });
// An idle connection that ends is reported here; pg asks every program to listen.
pool.on('error', (error) => console.log(`idle connection: ${error.message}`));
const ready = (async () => {
  await pool.query('create table if not exists visits (id serial primary key, who text)');
  await pool.query("insert into visits (who) values ('first')");
})();
ready.then(() =>
  serve({
    '/square': async (query) =>
      (await pool.query('select $1::int * $1::int as square', [query.get('of')])).rows[0],
    '/visit': async () =>
      (await pool.query("insert into visits (who) values ('again') returning id")).rows[0],
    '/first': async () => (await pool.query('select who from visits order by id limit 1')).rows[0],
  }),
);
