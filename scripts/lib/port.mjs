// A port to give to a program that is about to be started.
import { createServer } from 'node:net';

/** Below those that the kernel gives away by itself (net.ipv4.ip_local_port_range), which somebody else may get meanwhile. */
const [FIRST, LAST] = [20_000, 32_000];
const TRIES = 100;

/** Returns a port on the loopback interface at which nobody listens now. */
export async function freePort() {
  for (let time = 0; time < TRIES; time++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${FIRST} to ${LAST} is free`);
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
