import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { serve } from './plain.cjs';

const db = new DatabaseSync(join(process.env.DATA, 'node.db'));
db.exec("create table visits (id integer primary key, who text); insert into visits (who) values ('first')");
const insert = db.prepare("insert into visits (who) values ('again')");
const first = db.prepare('select who from visits order by id limit 1');
serve({ '/visit': () => ({ id: Number(insert.run().lastInsertRowid) }), '/first': () => first.get() });
