// Clients of a server that is forked every two seconds, and one of whose children is killed every second.
import { Agent, get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { ask } from './processes.mjs';

const LIMIT_MS = 20_000;
/** How long a child may take to end from the word on, on a busy machine. */
const DYING_MS = 2000;
/** Answers after which a client connects anew, so that children that came later get some as well. */
const CONVERSATION = 20;

/** Returns how many requests were answered, by how many programs, and which failed although nobody had killed who served them. */
export async function measureForkLoad({ size, progress, ...bench }, withParent) {
  const { seconds, connections } = size.load;
  progress(`load for ${seconds} s`);
  return await withParent(bench, async (port) => {
    const seen = { answers: 0, failures: [], served: new Set() };
    let isOver = false;
    const clients = Array.from({ length: connections }, () => converse(port, seen, () => isOver));
    const told = JSON.parse(await ask(port, `/load/${seconds}`));
    isOver = true;
    await Promise.all(clients);
    const killed = new Set(told.killed.map(({ id }) => id));
    // Whoever is cut before the first answer does not know by whom it was accepted: by the one that ended then.
    const isCut = ({ run, from, to }) =>
      killed.has(run) ||
      (run === 'nobody' && told.killed.some(({ at }) => at <= to && at + DYING_MS >= from));
    const failed = seen.failures.filter((failure) => !isCut(failure));
    return {
      seconds,
      connections,
      answers: seen.answers,
      programs: seen.served.size,
      forks: told.forks,
      killed: killed.size,
      cut: seen.failures.length - failed.length,
      failed,
    };
  });
}

/** Asks again and again on one connection; when it is cut it is made anew. */
async function converse(port, seen, isOver) {
  let agent = new Agent({ keepAlive: true, maxSockets: 1 });
  // Who serves a connection is known from its first answer on; one that is cut before may be a killed child's as well.
  const servers = new WeakMap();
  for (let asked = 1; !isOver(); asked++) {
    if (asked % CONVERSATION === 0) {
      agent.destroy();
      agent = new Agent({ keepAlive: true, maxSockets: 1 });
    }
    await new Promise((resolve) => {
      let socket;
      const from = Date.now();
      const fail = (error) => {
        seen.failures.push({
          run: servers.get(socket) ?? 'nobody',
          message: error.message,
          from,
          to: Date.now(),
        });
        resolve();
      };
      const request = get(
        { host: '127.0.0.1', port, path: '/item/7', agent, timeout: LIMIT_MS },
        (response) => {
          servers.set(socket, response.headers['x-run']);
          seen.served.add(response.headers['x-run']);
          response.resume();
          response.once('end', () => {
            seen.answers++;
            resolve();
          });
          response.once('error', fail);
        },
      );
      request.once('socket', (given) => (socket = given));
      request.once('timeout', () => request.destroy(new Error('no answer in time')));
      request.once('error', fail);
    });
    await pause(5 + Math.random() * 20);
  }
  agent.destroy();
}
