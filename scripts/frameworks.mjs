// Real frameworks under `forkpoint serve`: started, asked without a pause through a refork and a reload, started again from the kept image.
// Usage: npm run frameworks [-- NAME...]; NAME is express, fastify, nest or next. Fails when a request does, or a start is not what it has to be.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from './lib/port.mjs';
import { dataDirectory, installSet, setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const node = join(root, 'node_modules/node24/bin/node');
const forkpoint = join(root, 'bin/forkpoint');
const LIMIT_MS = 120_000;
const BUILD_LIMIT_MS = 600_000;
const CLIENTS = 4;

/** Answers with the start of the program that it comes from, and the worker. */
const ANSWER = 'JSON.stringify({ start, worker: process.env.FORKPOINT_WORKER })';
const HEAD = "const start = require('node:crypto').randomUUID();\n";
const LISTEN = "(Number(process.env.PORT), '127.0.0.1')";

const NEST = `require('reflect-metadata');
const { Controller, Get, Inject, Injectable, Module } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
${HEAD}class Greeter { greet() { return ${ANSWER}; } }
Injectable()(Greeter);
class Hello { constructor(greeter) { this.greeter = greeter; } hello() { return this.greeter.greet(); } }
Inject(Greeter)(Hello, undefined, 0);
Controller()(Hello);
Get()(Hello.prototype, 'hello', Object.getOwnPropertyDescriptor(Hello.prototype, 'hello'));
class App {}
Module({ controllers: [Hello], providers: [Greeter] })(App);
NestFactory.create(App, { logger: ['error', 'warn'] }).then((app) => app.listen${LISTEN});
`;

const FRAMEWORKS = {
  express: {
    files: {
      'server.cjs': `${HEAD}require('express')().get('/', (q, r) => r.send(${ANSWER})).listen${LISTEN};\n`,
    },
  },
  fastify: {
    files: {
      'server.cjs': `${HEAD}const app = require('fastify')();
app.get('/', async () => ${ANSWER});
app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });\n`,
    },
  },
  nest: { files: { 'server.cjs': NEST } },
  next: {
    files: {
      'app/layout.jsx':
        'export default function Layout({ children }) { return <html><body>{children}</body></html>; }\n',
      'app/page.jsx': `export const dynamic = 'force-dynamic';
const start = crypto.randomUUID();
export default function Page() { return <p>{${ANSWER}}</p>; }\n`,
    },
    build: ['node_modules/next/dist/bin/next', 'build'],
    argv: (port) => ['node_modules/next/dist/bin/next', 'start', '-H', '127.0.0.1', '-p', String(port)],
  },
};

/** Writes the program and builds it; returns its directory. */
function prepare(name, { files, build }) {
  const directory = mkdtempSync(join(dataDirectory(), `${name}-`));
  for (const [path, text] of Object.entries({ 'package.json': '{ "private": true }\n', ...files })) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
  // Next's bundler takes nothing from outside of its project.
  const packages = join(root, '.forkpoint/frameworks/node_modules');
  if (build === undefined) symlinkSync(packages, join(directory, 'node_modules'));
  else finish(['cp', '-al', packages, join(directory, 'node_modules')], directory);
  if (build !== undefined) finish([node, ...build], directory);
  return directory;
}

function environment(more = {}) {
  const NODE = { PATH: `${dirname(node)}:${process.env.PATH}`, FORKPOINT_NODE: node, NODE_ENV: 'production' };
  return { ...process.env, ...NODE, FORKPOINT_HOME: dataDirectory(), NEXT_TELEMETRY_DISABLED: '1', ...more };
}

function finish(argv, cwd) {
  const options = { cwd, env: environment(), encoding: 'utf8', timeout: BUILD_LIMIT_MS };
  const { status, stdout, stderr } = spawnSync(argv[0], argv.slice(1), options);
  if (status !== 0) throw new Error(`${argv.join(' ')} ended with ${status}: ${stdout}${stderr}`);
}

/** Starts a server; its words can be waited for. */
function serve(argv, port, cwd) {
  const options = ['--workers', '2', '--refork', '20', '--name', `frameworks-${process.pid}`];
  const child = spawn(forkpoint, ['serve', ...options, '--', 'node', ...argv], {
    cwd,
    env: environment({ PORT: String(port) }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (said += text));
  const ended = new Promise((resolve) => child.once('close', resolve));
  let isOver = false;
  void ended.then(() => (isOver = true));
  const says = async (pattern) => {
    const until = performance.now() + LIMIT_MS;
    while (!pattern.test(said)) {
      if (isOver || performance.now() > until) throw new Error(`${pattern} was not said, but: ${said}`);
      await pause(20);
    }
  };
  return { child, ended, says };
}

/** Asks once; returns the start that answered, and by which worker. */
function ask(port, agent) {
  return new Promise((resolve, reject) => {
    const asked = get({ host: '127.0.0.1', port, agent, timeout: LIMIT_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more) => (text += more));
      response.once('error', reject).once('end', () => {
        // A page has its quotes as entities.
        const [, start, worker] =
          /"start":"([0-9a-f-]{36})","worker":"(\d)"/.exec(text.replaceAll('&quot;', '"')) ?? [];
        if (response.statusCode === 200 && worker !== undefined) resolve({ start, worker });
        else reject(new Error(`${response.statusCode}: ${text.slice(0, 300)}`));
      });
    });
    asked.once('timeout', () => asked.destroy(new Error('no answer in time'))).once('error', reject);
  });
}

/** Asks on and on, half of it on connections that are kept, until `work` is done; every request has to succeed. */
async function underLoad(port, work) {
  let isOn = true;
  const starts = new Set();
  const workers = new Set();
  let count = 0;
  const agent = new Agent({ keepAlive: true });
  const clients = Array.from({ length: CLIENTS }, async (_, index) => {
    while (isOn) {
      const { start, worker } = await ask(port, index % 2 === 0 ? agent : false);
      starts.add(start);
      workers.add(worker);
      count++;
      await pause(2);
    }
  });
  try {
    await Promise.race([work(() => starts), Promise.all(clients)]);
  } finally {
    isOn = false;
  }
  await Promise.all(clients);
  agent.destroy();
  if (workers.size !== 2) throw new Error(`only ${[...workers].join()} answered`);
  return { count, starts: starts.size };
}

async function walk(name) {
  const framework = FRAMEWORKS[name];
  const directory = prepare(name, framework);
  const port = await freePort();
  const argv = framework.argv?.(port) ?? ['server.cjs'];
  const server = serve(argv, port, directory);
  let again;
  try {
    await server.says(/2 workers serve/);
    const { count, starts } = await underLoad(port, async (seen) => {
      await server.says(/^image 1 of generation 1 was made from worker/m);
      finish([forkpoint, 'serve', 'reload', '--fresh', `frameworks-${process.pid}`], directory);
      await server.says(/^image 2 of generation 0 was made from a cold start/m);
      const until = performance.now() + LIMIT_MS;
      while (seen().size < 2 && performance.now() < until) await pause(20);
    });
    if (starts !== 2) throw new Error(`answers of ${starts} starts instead of 2`);
    await end(server);
    again = serve(argv, port, directory);
    await again.says(/made from an earlier start/);
    await again.says(/2 workers serve/);
    await ask(port, false);
    await end(again);
    return count;
  } finally {
    for (const one of [server, again]) one?.child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  }
}

async function end({ child, ended }) {
  child.kill('SIGTERM');
  const code = await ended;
  if (code !== 0) throw new Error(`the server ended with ${code}`);
}

await setup();
await installSet('frameworks', 'the frameworks');
const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(FRAMEWORKS);
for (const name of names) {
  try {
    if (!Object.hasOwn(FRAMEWORKS, name)) throw new Error(`there are ${Object.keys(FRAMEWORKS).join(', ')}`);
    console.log(
      `${name}: works, ${await walk(name)} requests through a refork and a reload without a failed one`,
    );
  } catch (error) {
    process.exitCode = 1;
    console.log(`${name}: fails: ${error.message}`);
  }
}
