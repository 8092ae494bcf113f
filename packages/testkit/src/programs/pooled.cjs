// A warm server with a worker thread, that ends in an image: `pooled.cjs IMAGE`. A clone prints who it is.
// oxlint-disable unicorn/require-post-message-target-origin -- worker threads have no origin
'use strict';
const { randomUUID } = require('node:crypto');
const http = require('node:http');
const { Worker, isMainThread, parentPort } = require('node:worker_threads');
const { Core } = require('../../../forkpoint/dist/index.cjs');

async function main() {
  const worker = new Worker(__filename);
  const ask = () =>
    new Promise((done) => worker.once('message', done) && worker.postMessage({ ask: 'colour' }));
  await ask();
  let hooks = 0;
  const resource = { beforeCheckpoint() {}, afterRestore: ({ args }) => void (hooks += args.length) };
  Core.getGlobalContext().register(resource);
  const server = http.createServer((request, response) => response.end(`served ${Core.args[0]}`));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const { id } = await Core.checkpointRestore(process.argv[2]);
  const facts = { id, args: Core.args, colour: process.env.COLOUR, hooks, uuid: randomUUID() };
  console.log(JSON.stringify({ ...facts, since: Core.uptimeSinceRestore }));
  console.log(JSON.stringify({ worker: (await ask()).colour }));
}

if (isMainThread) main();
else parentPort.on('message', () => parentPort.postMessage({ colour: process.env.COLOUR ?? 'none' }));
