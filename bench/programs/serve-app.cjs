// A server that renders pages and takes long to start: Express, routes and views from TypeScript, and this checkout's sources beside
// them. With CLUSTER=N it serves with node:cluster, and starts a worker anew when one has ended, as people write it.
'use strict';
const cluster = require('node:cluster');
const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const { Module, stripTypeScriptTypes } = require('node:module');
const { join } = require('node:path');

const workers = Number(process.env.CLUSTER ?? 0);
const VIEW = `
interface Row { readonly id: number; readonly name: string; readonly price: number; readonly tags: readonly string[] }
const rows: Row[] = Array.from({ length: 5000 }, (_, id) => ({ id, name: 'Article ' + id, price: (id * 37) % 990, tags: ['t' + (id % 7), 't' + (id % 11)] }));
const escape = (text: string): string => text.replace(/[&<>"]/g, (letter) => '&#' + letter.charCodeAt(0) + ';');
const line = (row: Row): string => '<tr><td>' + row.id + '</td><td>' + escape(row.name) + '</td><td>' + row.price.toFixed(2) + '</td><td>' + row.tags.map(escape).join(', ') + '</td></tr>';
exports.page = (number: number): string => {
  const from = (number * 61) % (rows.length - 200);
  const shown = rows.slice(from, from + 200).sort((a, b) => a.price - b.price);
  return '<!doctype html><title>Page ' + number + '</title><table>' + shown.map(line).join('') + '</table>';
};
`;

function serve() {
  const express = require('express');
  const transpile = (text) => stripTypeScriptTypes(text, { mode: 'transform' });
  const view = new Module('view');
  view._compile(transpile(VIEW), join(__dirname, 'view.js'));
  const packages = join(__dirname, '../../packages');
  const names = fs
    .readdirSync(packages, { recursive: true })
    .filter((name) => /^[a-z]+\/src\/.*\.ts$/.test(name));
  const compiled = names.map((name) => transpile(fs.readFileSync(join(packages, name), 'utf8')));
  let id = randomUUID();
  let count = 0;
  // A copy is somebody else, who has answered nothing yet.
  process.on('forkpoint:config-changed', () => {
    id = randomUUID();
    count = 0;
  });
  const app = express();
  app.get('/page/:number', (request, response) => {
    response.setHeader('x-worker', id);
    response.setHeader('x-count', ++count);
    response.send(view.exports.page(Number(request.params.number) + compiled.length * 0));
  });
  app.listen(Number(process.env.PORT), '127.0.0.1', () => process.send?.('serving'));
}

function lead() {
  let ready = 0;
  const start = () =>
    cluster.fork().on('message', () => {
      if (++ready === workers) console.log(`${workers} workers serve`);
    });
  for (let i = 0; i < workers; i++) start();
  cluster.on('exit', start);
}

if (workers > 0 && cluster.isPrimary) lead();
else serve();
