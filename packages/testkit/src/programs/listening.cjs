// A server on three listeners at once, TCP, TLS and a unix socket, that forks as it is told: `listening.cjs SOCKET`, with
// SO_REUSEPORT where REUSE_PORT is 1.
// Commands come as lines of JSON: `{"fork": OPTIONS}`, `{"kill": ID}`; each is answered by a line `NAME JSON`.
'use strict';
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const net = require('node:net');
const { once } = require('node:events');
const { join } = require('node:path');
const { createInterface } = require('node:readline');
const { fork } = require('forkpoint');

const say = (name, value) => console.log(`${name} ${JSON.stringify(value)}`);
let id = 'parent';
const answer = (request, response) => {
  response.setHeader('x-run', id);
  response.end('served');
};
const pem = fs.readFileSync(join(__dirname, 'tls.pem'));
const servers = {
  tcp: http.createServer(answer),
  tls: https.createServer({ key: pem, cert: pem }, answer),
  unix: http.createServer(answer),
};
const children = new Map();
/** Connections that are accepted and never looked at, so that they stay when their clients have gone. */
const kept = [];
const silent = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
  say('kept', kept.push(socket));
});

async function forkAs(options) {
  const forked = await fork(options);
  if (forked.role === 'child') {
    id = forked.self.id;
    const ports = [servers.tcp, servers.tls].map((server) => server.address()?.port ?? null);
    forked.channel.on('message', () => forked.channel.send({ id, ports }));
    return;
  }
  const told = [];
  for (const child of forked.children) {
    children.set(child.id, child);
    const said = once(child, 'message');
    void child.send('where');
    told.push((await said)[0]);
  }
  say('forked', { children: told, errors: forked.errors.map(({ message }) => message) });
}

async function obey(line) {
  const order = JSON.parse(line);
  if (order.fork !== undefined) return await forkAs(order.fork);
  const child = children.get(order.kill);
  child.kill('SIGKILL');
  say('ended', await child.wait());
}

async function main() {
  for (const server of Object.values(servers)) server.keepAliveTimeout = 60_000;
  const all = Object.values(servers).map(async (server) => await once(server, 'listening'));
  const where = { port: 0, host: '127.0.0.1', reusePort: process.env.REUSE_PORT === '1' };
  servers.tcp.listen(where);
  servers.tls.listen(where);
  servers.unix.listen(process.argv[2]);
  silent.listen(`${process.argv[2]}.silent`);
  await Promise.all(all);
  say('ready', [servers.tcp.address().port, servers.tls.address().port]);
  createInterface({ input: process.stdin }).on('line', (line) => {
    obey(line).catch((error) => say('failed', `${error.code}: ${error.message}`));
  });
}

main();
