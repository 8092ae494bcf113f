const { join } = require('node:path');
const Database = require('better-sqlite3');
const { serve } = require('./plain.cjs');

const db = new Database(join(process.env.DATA, 'better.db'));
db.exec("create table visits (id integer primary key, who text); insert into visits (who) values ('first')");
const insert = db.prepare("insert into visits (who) values ('again')");
const first = db.prepare('select who from visits order by id limit 1');
serve({ '/visit': () => ({ id: Number(insert.run().lastInsertRowid) }), '/first': () => first.get() });
