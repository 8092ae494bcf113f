// Logs, databases and watchers: `files.mjs IMAGE DIRECTORY`, whose processes write into files that they share.
import { appendFileSync, mkdirSync, watch, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { watch as chokidar } from 'chokidar';
import pino from 'pino';
import winston from 'winston';
import { refusal, rounds, say } from './rounds.mjs';

const [, , image, directory] = process.argv;
const LINES = 50;
const require = createRequire(import.meta.url);
// Node.js has a SQLite of its own since 22, and better-sqlite3 wants that version; libsql has its interface.
const isOld = process.versions.node < '22';
const Database = isOld ? require('libsql') : require('node:sqlite').DatabaseSync;
const Other = isOld ? Database : require('better-sqlite3');

mkdirSync(`${directory}/watched`, { recursive: true });
const buffered = pino(pino.destination({ dest: `${directory}/pino.log`, sync: false, minLength: 12_288 }));
const threaded = pino(
  pino.transport({ target: 'pino/file', options: { destination: `${directory}/thread.log` } }),
);
const files = winston.createLogger({
  transports: [new winston.transports.File({ filename: `${directory}/winston.log` })],
});
const log = (text) => {
  for (const logger of [buffered, threaded, files]) logger.info(text);
};

const open = (name, mode, Library = Database) => {
  const database = new Library(`${directory}/${name}.db`);
  // They write at the same time, each with a lock of its own.
  database.exec(
    `pragma busy_timeout = 20000; pragma journal_mode = ${mode}; create table if not exists t (who text)`,
  );
  return database;
};
const databases = {
  wal: open('wal', 'wal'),
  rollback: open('rollback', 'delete'),
  other: open('other', 'wal', Other),
  otherRollback: open('other-rollback', 'delete', Other),
};
const insert = databases.wal.prepare('insert into t values (?)');

const heard = new Set();
watch(`${directory}/watched`, (event, name) => heard.add(`fs ${name}`));
const watcher = chokidar(`${directory}/watched`, { ignoreInitial: true });
watcher.on('add', (path) => heard.add(`chokidar ${path.slice(directory.length + '/watched/'.length)}`));
await new Promise((resolve) => {
  watcher.once('ready', resolve);
});

let processes = 0;
async function use(phase) {
  const who = `${phase} ${process.hrtime.bigint()} ${processes++}`;
  log(`own ${who}`);
  insert.run(who);
  for (const name of ['rollback', 'other', 'otherRollback'])
    databases[name].exec(`insert into t values ('${who}')`);
  const name = who.replaceAll(' ', '-');
  writeFileSync(`${directory}/watched/${name}`, '');
  while (!heard.has(`fs ${name}`) || !heard.has(`chokidar ${name}`)) {
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
  const rows = Object.values(databases).map(
    (database) => database.prepare('select count(*) as n from t where who = ?').get(who).n,
  );
  return { who, rows };
}

for (const database of Object.values(databases)) database.exec('begin immediate');
say('refused', await refusal(`${image}-refused`));
for (const database of Object.values(databases)) database.exec('commit');
// In memory, on their way to a thread and to a file, when the checkpoint is asked for.
for (let line = 0; line < LINES; line++) log(`before ${line}`);
await rounds({
  use,
  leave: async () => {
    await watcher.close();
    await new Promise((resolve) => {
      buffered.flush(resolve);
    });
    await new Promise((resolve) => {
      threaded.flush(resolve);
    });
    files.end();
    await new Promise((resolve) => {
      files.once('finish', resolve);
    });
    appendFileSync(`${directory}/ends`, 'end\n');
  },
});
process.exit(0);
