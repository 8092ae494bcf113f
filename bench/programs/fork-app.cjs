// A server that takes long to start: it loads Express and compiles its routes and some 500 more files from TypeScript. `fork-app.cjs [serve|process|cluster] [COUNT]`
// As `process` or `cluster` it starts as many of its like by child_process.fork or node:cluster. All print `port N` when they serve.
'use strict';
const childProcess = require('node:child_process');
const cluster = require('node:cluster');
const fs = require('node:fs');
const { Module, stripTypeScriptTypes } = require('node:module');
const { join } = require('node:path');

const [kind = 'serve', count = '0'] = process.argv.slice(2);
const started = performance.now();
const MB = 1 << 20;
const SOURCE = `
interface Item { readonly id: number; readonly text: string; readonly words: readonly string[] }
const items: Item[] = Array.from({ length: 20_000 }, (_, id) => ({ id, text: 'item ' + id, words: ['w' + id, 'x'] }));
exports.routes = (app: { get(path: string, handler: (request: any, response: any) => void): void }): void => {
  app.get('/item/:id', (request, response) => response.json(items[Number(request.params.id)]));
};
`;

const transpile = (text) => stripTypeScriptTypes(text, { mode: 'transform' });

const library = () => require(join(__dirname, '../../packages/forkpoint/dist/index.cjs'));
const state = { id: 'parent', children: [], ballast: Buffer.alloc(0) };

function serve() {
  const express = require('express');
  const routes = new Module('routes');
  routes._compile(transpile(SOURCE), join(__dirname, 'routes.js'));
  // As a server does that runs from its sources: this checkout's.
  const packages = join(__dirname, '../../packages');
  const names = fs.readdirSync(packages, { recursive: true });
  const sources = names.filter((name) => /^[a-z]+\/src\/.*\.ts$/.test(name));
  state.compiled = sources.map((name) => transpile(fs.readFileSync(join(packages, name), 'utf8')));
  const app = express();
  app.use((request, response, next) => {
    response.setHeader('x-run', state.id);
    next();
  });
  routes.exports.routes(app);
  app.get('/dirty/:mb', (request, response) => {
    state.ballast = Buffer.alloc(Number(request.params.mb) * MB, (Math.random() * 255) | 1);
    response.json(state.ballast.length);
  });
  app.get('/fork/:count', (request, response) => forkMany(Number(request.params.count), server, response));
  app.get('/load/:seconds', (request, response) => forkUnderLoad(Number(request.params.seconds), response));
  app.get('/end', async (request, response) => {
    const children = state.children.splice(0);
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map((child) => child.wait()));
    response.json(children.length);
  });
  const server = app.listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    process.send?.(port);
    if (cluster.isPrimary && process.send === undefined)
      console.log(`port ${port} ${performance.now() - started}`);
  });
}

/** Children with ports of their own; answers with these, and with the longest time in which the parent did not run. */
async function forkMany(number, server, response) {
  let last = performance.now();
  let stallMs = 0;
  const meter = setInterval(() => {
    const now = performance.now();
    stallMs = Math.max(stallMs, now - last - 1);
    last = now;
  }, 1);
  const forked = await library().fork({ count: number, stdio: 'ignore', listen: { '*': '127.0.0.1:0' } });
  if (forked.role === 'child') {
    clearInterval(meter);
    forked.channel.on('message', () => undefined);
    void forked.channel.send(server.address().port);
    return;
  }
  const { children } = forked;
  const ports = await Promise.all(
    children.map((child) => new Promise((done) => child.once('message', done))),
  );
  clearInterval(meter);
  response.json({ ports, ids: children.map(({ id }) => id), stallMs });
  state.children.push(...children);
}

/** For so many seconds: a child more every two seconds, on the same socket, and one of them killed every second. */
async function forkUnderLoad(seconds, response) {
  const until = performance.now() + seconds * 1000;
  const { children } = state;
  const killed = [];
  let forks = 0;
  const killer = setInterval(() => {
    const [child] = children.splice(Math.floor(Math.random() * children.length), 1);
    if (child === undefined) return;
    killed.push({ id: child.id, at: Date.now() });
    child.kill('SIGKILL');
  }, 1000);
  while (performance.now() < until) {
    const next = performance.now() + 2000;
    const forked = await library().fork({ count: 1, stdio: 'ignore' });
    if (forked.role === 'child') {
      clearInterval(killer);
      state.id = forked.self.id;
      forked.channel.on('message', () => undefined);
      return;
    }
    children.push(...forked.children);
    forks++;
    await new Promise((done) => setTimeout(done, Math.max(0, next - performance.now())));
  }
  clearInterval(killer);
  response.json({ forks, killed });
}

/** Waits for the word to start, then starts the others. */
function startOthers(start) {
  console.log('ready');
  process.stdin.once('data', () => {
    for (let i = 0; i < Number(count); i++) start().on('message', (port) => console.log(`port ${port}`));
  });
}

if (kind === 'process') startOthers(() => childProcess.fork(__filename, ['serve']));
else if (kind === 'cluster' && cluster.isPrimary) startOthers(() => cluster.fork());
else serve();
