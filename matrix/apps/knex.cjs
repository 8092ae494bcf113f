const knex = require('knex');
const { serve } = require('./plain.cjs');

const db = knex({ client: 'pg', connection: process.env.POSTGRES_URL, pool: { min: 2, max: 4 } });
const ready = (async () => {
  if (!(await db.schema.hasTable('books')))
    await db.schema.createTable('books', (table) => {
      table.increments('id');
      table.string('title');
    });
  await db('books').insert([{ title: 'first' }, { title: 'second' }]);
})();
ready.then(() =>
  serve({
    '/first': async () => db('books').orderBy('id').first('title'),
    '/visit': async () =>
      db.transaction(async (work) => (await work('books').insert({ title: 'again' }).returning('id'))[0]),
  }),
);
