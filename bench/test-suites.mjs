// Suites of tests for `npm run bench -- tests`: of a Node service, of React components in jsdom, of an Express server with a
// database. Each has tests that pass, one that fails, mocks, snapshots, and modules of its own that are covered.
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What is linked into a suite's node_modules from the sets of scripts/lib/runtimes.mjs; all of `vitest` is. */
const FROM_RUNTIMES = ['ioredis', 'mysql2', 'nats', 'pg', 'pino', 'redis', 'undici', 'winston'];

const CONFIG = `import { forkpoint } from 'forkpoint/vitest';
import { defineConfig } from 'vitest/config';
export default defineConfig({
  cacheDir: '.cache',
  oxc: { jsx: { runtime: 'automatic' } },
  test: {
    include: ['test/*.test.*'],
    environment: 'ENVIRONMENT',
    setupFiles: ['./test/setup.mjs'],
    pool: process.env.BENCH_POOL === 'forkpoint' ? forkpoint() : 'forks',
    coverage: { provider: 'v8', reporter: ['json'], include: ['src/**'] },
  },
});
`;

const SUITES = {
  node: {
    environment: 'node',
    shared: {
      'test/setup.mjs': `import { beforeEach } from 'vitest';
beforeEach(() => { globalThis.started = Date.now(); });
`,
      'src/service.mjs': `import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import { Pool } from 'pg';
import pino from 'pino';
import { createClient } from 'redis';
import { Agent, MockAgent } from 'undici';
import winston from 'winston';
import { price } from './price.mjs';

export const parts = { Redis, mysql, Pool, createClient, Agent, MockAgent };
export const log = pino({ level: 'silent' });
export const audit = winston.createLogger({ silent: true });

/** An order with its total; unknown goods are refused. */
export function order(lines) {
  const rows = lines.map(({ goods, count }) => ({ goods, count, sum: price(goods) * count }));
  log.info({ rows }, 'ordered');
  audit.info('ordered');
  return { rows, total: rows.reduce((sum, row) => sum + row.sum, 0) };
}
`,
      'src/price.mjs': `const PRICES = new Map([['bread', 3], ['milk', 2], ['tea', 5]]);
export function price(goods) {
  const found = PRICES.get(goods);
  if (found === undefined) throw new RangeError(\`no price of \${goods}\`);
  return found;
}
export function raise(goods, by) {
  if (by <= 0) return;
  PRICES.set(goods, price(goods) + by);
}
`,
    },
    file: (i) => `import { expect, test, vi } from 'vitest';
import { order, parts } from '../src/service.mjs';
import { price, raise } from '../src/price.mjs';
${i % 5 === 4 ? "vi.mock('../src/price.mjs', () => ({ price: () => 7, raise: () => undefined }));\n" : ''}
test('adds up ${i}', () => {
  expect(order([{ goods: 'bread', count: ${i} }]).total).toBe(${i % 5 === 4 ? 7 * i : 3 * i});
});
test('is no other file’s business ${i}', () => {
  raise('tea', ${i + 1});
  expect(price('tea')).toBe(${i % 5 === 4 ? 7 : 5 + i + 1});
  expect(globalThis.poison).toBe(undefined);
  globalThis.poison = ${i};
});
test('looks like this ${i}', () => {
  expect(order([{ goods: 'milk', count: 2 }])).toMatchSnapshot();
  expect(Object.keys(parts)).toMatchSnapshot();
});
${i === 3 ? "test('fails', () => { expect(order([{ goods: 'gold', count: 1 }]).total).toBe(1); });\n" : ''}`,
  },
  react: {
    environment: 'jsdom',
    shared: {
      'test/setup.mjs': `import { cleanup } from '@testing-library/react';
import { afterEach } from 'vitest';
afterEach(() => cleanup());
`,
      'src/cart.jsx': `import { useState } from 'react';
import { format } from './format.mjs';
export function Cart({ goods }) {
  const [count, setCount] = useState(0);
  return (
    <section aria-label="cart">
      <output>{format(goods, count)}</output>
      <button onClick={() => setCount(count + 1)}>add</button>
      {count > 5 ? <p role="alert">That is a lot.</p> : null}
    </section>
  );
}
`,
      'src/format.mjs': `export function format(goods, count) {
  if (count === 0) return \`no \${goods}\`;
  return count === 1 ? \`one \${goods}\` : \`\${count} \${goods}\`;
}
`,
    },
    extension: 'jsx',
    file: (i) => `import { fireEvent, render, screen } from '@testing-library/react';
import { expect, test, vi } from 'vitest';
import { Cart } from '../src/cart.jsx';
${i % 5 === 4 ? "vi.mock('../src/format.mjs', () => ({ format: (goods, count) => `mocked ${goods} ${count}` }));\n" : ''}
test('counts ${i}', () => {
  render(<Cart goods="apples" />);
  for (let n = 0; n < ${i % 7}; n++) fireEvent.click(screen.getByText('add'));
  expect(screen.getByRole('status').textContent).toMatch(${i % 5 === 4 ? '/mocked/' : i % 7 === 0 ? '/no/' : i % 7 === 1 ? '/one/' : `/${i % 7}/`});
});
test('is no other file’s business ${i}', () => {
  expect(document.body.dataset.poison).toBe(undefined);
  document.body.dataset.poison = '${i}';
  expect(Array.prototype.poison).toBe(undefined);
  Object.defineProperty(Array.prototype, 'poison', { value: ${i}, configurable: true });
});
test('looks like this ${i}', () => {
  const { container } = render(<Cart goods="pears" />);
  expect(container.innerHTML).toMatchSnapshot();
});
${i === 3 ? "test('fails', () => { render(<Cart goods=\"figs\" />); expect(screen.getByRole('status').textContent).toBe('figs'); });\n" : ''}`,
  },
  express: {
    environment: 'node',
    shared: {
      'test/setup.mjs': `import { afterAll } from 'vitest';
import { closeAll } from '../src/app.mjs';
afterAll(() => closeAll());
`,
      'src/app.mjs': `import express from 'express';
import pg from 'pg';
import pino from 'pino';
import { openDatabase } from './database.mjs';
export const log = pino({ level: 'silent' });
export const types = pg.types;
const open = [];
/** A server on a port of its own; its database is in memory. */
export async function start() {
  const database = openDatabase();
  const app = express();
  app.use(express.json());
  app.post('/notes', (request, response) => response.json({ id: database.add(request.body.text) }));
  app.get('/notes', (_, response) => response.json(database.all()));
  app.use((error, _request, response, _next) => response.status(500).json({ error: error.message }));
  const server = await new Promise((resolve) => { const one = app.listen(0, '127.0.0.1', () => resolve(one)); });
  open.push(() => { server.closeAllConnections(); server.close(); database.close(); });
  return \`http://127.0.0.1:\${server.address().port}\`;
}
export function closeAll() { for (const close of open.splice(0)) close(); }
`,
      'src/database.mjs': `import { DatabaseSync } from 'node:sqlite';
export function openDatabase() {
  const database = new DatabaseSync(':memory:');
  database.exec('create table notes (id integer primary key, text text not null)');
  const insert = database.prepare('insert into notes (text) values (?)');
  const select = database.prepare('select id, text from notes order by id');
  return {
    add(text) {
      if (text === '') throw new Error('a note says something');
      return Number(insert.run(text).lastInsertRowid);
    },
    all: () => select.all().map((row) => ({ ...row })),
    close: () => database.close(),
  };
}
`,
    },
    file: (i) => `import { beforeAll, expect, test } from 'vitest';
import { start } from '../src/app.mjs';
let base;
beforeAll(async () => { base = await start(); });
const post = async (text) => await (await fetch(\`\${base}/notes\`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ text }) })).json();
const list = async () => await (await fetch(\`\${base}/notes\`)).json();
test('keeps notes ${i}', async () => {
  for (let n = 0; n < ${(i % 4) + 1}; n++) await post(\`note \${n}\`);
  expect(await list()).toMatchSnapshot();
});
test('is no other file’s business ${i}', () => {
  expect(process.env.POISON).toBe(undefined);
  process.env.POISON = '${i}';
});
${i % 3 === 0 ? "test('refuses', async () => { expect(await post('')).toEqual({ error: 'a note says something' }); });\n" : ''}${i === 3 ? "test('fails', async () => { expect(await list()).toEqual([]); });\n" : ''}`,
  },
};

/** The names of all suites. */
export const SUITE_NAMES = Object.keys(SUITES);

/** Writes a suite of so many test files into a directory that is made. */
export function writeSuite(root, directory, name, count) {
  const { environment, shared, file, extension = 'mjs' } = SUITES[name];
  const put = (path, text) => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  };
  put('package.json', '{ "name": "suite", "private": true, "type": "module" }\n');
  put('vitest.config.mjs', CONFIG.replace('ENVIRONMENT', environment));
  for (const [path, text] of Object.entries(shared)) put(path, text);
  for (let i = 0; i < count; i++) put(`test/file${String(i).padStart(3, '0')}.test.${extension}`, file(i));
  mkdirSync(join(directory, 'node_modules'));
  const link = (set, names) => {
    const from = join(root, '.forkpoint', set, 'node_modules');
    for (const one of names ?? readdirSync(from).filter((entry) => !entry.startsWith('.')))
      if (!existsSync(join(directory, 'node_modules', one)))
        symlinkSync(join(from, one), join(directory, 'node_modules', one));
  };
  link('runtimes', FROM_RUNTIMES);
  link('vitest');
}
