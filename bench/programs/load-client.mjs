// Keeps connections to a server open and asks on each again and again. Usage: load-client.mjs PORT CONNECTIONS PAUSE_MS
// Says `ready` when every connection has had an answer; when its input ends it prints what it saw as JSON: answers, errors,
// and the gaps of more than 2 ms in which no connection had an answer, with their beginning in milliseconds since 1970.
import { Agent, get } from 'node:http';

const [port, connections, pauseMs] = process.argv.slice(2).map(Number);
const LIMIT_MS = 20_000;
const seen = { answers: 0, errors: [], gaps: [], reconnects: -connections };
let last = performance.timeOrigin + performance.now();
let hasEnded = false;

function note() {
  const now = performance.timeOrigin + performance.now();
  if (now - last > 2) seen.gaps.push([last, now - last]);
  last = now;
  seen.answers++;
}

function ask(agent) {
  return new Promise((resolve, reject) => {
    const request = get(
      { host: '127.0.0.1', port, path: '/item/7', agent, timeout: LIMIT_MS },
      (response) => {
        response.resume();
        response.once('end', () =>
          response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}`)),
        );
        response.once('error', reject);
      },
    );
    request.once('timeout', () => request.destroy(new Error('no answer in time')));
    request.once('error', reject);
  });
}

async function converse(isFirst) {
  // One agent each, so that one connection stays one connection.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (...args) => {
    seen.reconnects++;
    return connect(...args);
  };
  while (!hasEnded) {
    try {
      await ask(agent);
      note();
    } catch (error) {
      seen.errors.push(error.message);
    }
    isFirst();
    isFirst = () => undefined;
    // Not all in step, or they would leave gaps of their own making.
    await new Promise((resolve) => setTimeout(resolve, pauseMs * 2 * Math.random()));
  }
  agent.destroy();
}

let waiting = connections;
const all = Array.from({ length: connections }, () =>
  converse(() => {
    if (--waiting === 0) console.log('ready');
  }),
);
process.stdin.resume().once('end', async () => {
  hasEnded = true;
  await Promise.all(all);
  console.log(JSON.stringify(seen));
});
