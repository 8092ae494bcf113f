// A server that renders pages and takes long to start: Express, React on the server, views from TypeScript, and this checkout's sources
// beside them, FILES of them when not all. With CLUSTER=N it serves with node:cluster, and starts a worker anew when one has ended, as people write it.
'use strict';
const cluster = require('node:cluster');
const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const { Module, stripTypeScriptTypes } = require('node:module');
const { join } = require('node:path');

const workers = Number(process.env.CLUSTER ?? 0);
const VIEW = `
import type { ReactElement } from 'react';
interface Article { readonly id: number; readonly name: string; readonly price: number; readonly tags: readonly string[] }
const articles: Article[] = Array.from({ length: 5000 }, (_, id) => ({ id, name: 'Article <' + id + '>', price: (id * 37) % 990, tags: ['t' + (id % 7), 't' + (id % 11)] }));
const Tag = ({ text }: { readonly text: string }): ReactElement => h('span', { className: 'tag' }, text);
const Price = ({ value }: { readonly value: number }): ReactElement => h('b', { style: { color: value > 500 ? 'red' : 'green' } }, value.toFixed(2));
const Line = ({ article }: { readonly article: Article }): ReactElement => {
  const label = React.useMemo(() => article.name.toUpperCase(), [article.name]);
  return h('tr', null, h('td', null, article.id), h('td', { title: label }, article.name), h('td', null, h(Price, { value: article.price })), h('td', null, article.tags.map((text) => h(Tag, { key: text, text }))));
};
const Page = ({ number }: { readonly number: number }): ReactElement => {
  const from = (number * 61) % (articles.length - 60);
  const shown = articles.slice(from, from + 60).sort((a, b) => a.price - b.price);
  return h('html', null, h('head', null, h('title', null, 'Page ' + number)), h('body', null, h('table', null, h('tbody', null, shown.map((article) => h(Line, { key: article.id, article }))))));
};
exports.page = (number: number): string => '<!doctype html>' + renderToString(h(Page, { number }));
`;

function serve() {
  const express = require('express');
  const transpile = (text) => stripTypeScriptTypes(text, { mode: 'transform' });
  process.env.NODE_ENV ??= 'production';
  const view = new Module('view');
  const head =
    "const React = require('react'); const h = React.createElement; const { renderToString } = require('react-dom/server');";
  view.paths = module.paths;
  view._compile(head + transpile(VIEW), join(__dirname, 'view.js'));
  const packages = join(__dirname, '../../packages');
  const names = fs
    .readdirSync(packages, { recursive: true })
    .filter((name) => /^[a-z]+\/src\/.*\.ts$/.test(name))
    .slice(0, Number(process.env.FILES ?? Infinity));
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
