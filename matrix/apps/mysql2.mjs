import mysql from 'mysql2/promise';
import { serve } from './plain.cjs';

const pool = mysql.createPool({ uri: process.env.MARIADB_URL, connectionLimit: 4 });
await pool.query('create table if not exists visits (id int auto_increment primary key, who text)');
await pool.query("insert into visits (who) values ('first')");
serve({
  '/square': async (query) =>
    (
      await pool.execute('select cast(? as signed) * cast(? as signed) as square', [
        query.get('of'),
        query.get('of'),
      ])
    )[0][0],
  '/visit': async () => ({
    id: (await pool.execute("insert into visits (who) values ('again')"))[0].insertId,
  }),
  '/first': async () => (await pool.query('select who from visits order by id limit 1'))[0][0],
});
