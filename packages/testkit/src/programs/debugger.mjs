// A debugger that attaches to a Node process and all its workers. Usage: debugger.mjs PORT
// `evaluate EXPRESSION` on stdin prints the value.
import { get } from 'node:http';
import { createInterface } from 'node:readline';

const list = await new Promise((resolve) => {
  get({ port: process.argv[2], path: '/json' }, async (response) =>
    resolve(JSON.parse(await new Response(response).text())),
  );
});
const socket = new WebSocket(list[0].webSocketDebuggerUrl);
const waiting = new Map();
let last = 0;
let workers = 0;
socket.onmessage = ({ data }) => {
  const { id, method, result } = JSON.parse(data);
  if (method === 'NodeWorker.attachedToWorker') workers++;
  waiting.get(id)?.(result);
};
socket.onclose = () => process.exit();
await new Promise((resolve) => (socket.onopen = resolve));
const call = (method, params = {}) =>
  new Promise((resolve) => {
    waiting.set(++last, resolve);
    socket.send(JSON.stringify({ id: last, method, params }));
  });
await call('Debugger.enable');
await call('Runtime.enable');
await call('NodeWorker.enable', { waitForDebuggerOnStart: false });
console.log(`attached to ${workers} workers`);
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { result } = await call('Runtime.evaluate', { expression: line.replace(/^evaluate /, '') });
  console.log(result.value);
});
