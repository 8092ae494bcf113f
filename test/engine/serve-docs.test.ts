import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, root, runToEnd } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { command, write } from './pods.ts';
import { freePort } from './serving.ts';

const PAGES = ['docs/serve.md', 'docs/serve-migration.md'].map((path) =>
  readFileSync(join(root, path), 'utf8'),
);
const UNIT = readFileSync(join(root, 'examples/forkpoint-serve.service'), 'utf8');
const SERVER = `const server = require('node:http').createServer((request, response) => response.end('hello'));
server.listen(3000, '127.0.0.1');
`;

/** The fenced blocks of a language, of all pages. */
function blocks(language: string): string[] {
  return PAGES.flatMap((page) => [...page.matchAll(/^```(\w*)\n([^]*?)^```$/gm)])
    .filter(([, name]) => name === language)
    .map(([, , text = '']) => text);
}

/** Commands in the running text and in tables: orders to a living server. */
function orders(): string[] {
  const found = PAGES.flatMap((page) => [
    ...page.matchAll(/`(forkpoint serve (?:status|reload|refork|inspect)[^`]*)`/g),
  ]);
  return [...new Set(found.map(([, text = '']) => text))];
}

/** What an expression is in the process whose debugger listens at an address. */
async function evaluate(address: string, expression: string): Promise<unknown> {
  const socket = new WebSocket(address);
  const answer = new Promise<string>((resolve, reject) => {
    socket.addEventListener('open', () =>
      socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } })),
    );
    socket.addEventListener('message', ({ data }) => resolve(String(data)));
    socket.addEventListener('error', () => reject(new Error(`nobody answers at ${address}`)));
  });
  const { result } = JSON.parse(await answer) as { result: { result: { value: unknown } } };
  socket.close();
  return result.result.value;
}

describe('the pages on forkpoint serve', () => {
  let person: Person;
  let env: Record<string, string>;
  const ports = { 3000: 0, 9464: 0, 9229: 0 };
  before(async () => {
    person = createPerson();
    for (const port of [3000, 9464, 9229] as const) ports[port] = await freePort();
    // Readers have both on their PATH.
    mkdirSync(join(person.scratch, 'bin'));
    for (const [name, target] of [
      ['node', nodeBinary(24)],
      ['forkpoint', command],
    ] as const)
      chmodSync(write(person, `bin/${name}`, `#!/bin/sh\nexec ${target} "$@"\n`), 0o755);
    const PATH = `${join(person.scratch, 'bin')}:${process.env['PATH']}`;
    env = { PATH, FORKPOINT_NODE: nodeBinary(24) };
    write(person, 'server.js', here(SERVER));
  });
  after(async () => await person.leave());

  /** A text with ports that nobody else has. */
  const here = (text: string): string =>
    text.replaceAll(/\b(3000|9464)\b/g, (port) => String(ports[Number(port) as 3000]));
  const shell = (line: string): string[] => ['sh', '-c', here(line)];
  const begin = async (line: string): Promise<Running> => {
    const running = person.start(shell(`exec ${line}`), { env, timeoutMs: 120_000 });
    await running.output(/\d workers? serves? at/, 60_000);
    return running;
  };
  const run = async (line: string): Promise<string> => {
    const { code, stdout, stderr } = await person
      .start(shell(line), { env, cwd: person.scratch, timeoutMs: 60_000 })
      .end();
    assert.equal(code, 0, `${line}: ${stderr}`);
    return stdout;
  };
  const stop = async (running: Running): Promise<void> => {
    await run('forkpoint serve stop');
    assert.equal((await running.end()).code, 0, running.stderr);
  };

  test('have commands that run as they stand there', async () => {
    const all = blocks('sh').map((text) => text.trim().split('\n'));
    assert.equal(all.length, 2);
    for (const lines of all) {
      for (const line of lines) {
        if (!line.startsWith('forkpoint serve')) await run(line);
        else await stop(await begin(line));
      }
    }
  });

  test('have settings and hooks that are taken, and orders that a living server takes', async () => {
    const [config = ''] = blocks('ts');
    write(person, 'forkpoint.config.ts', here(config));
    const running = await begin('forkpoint serve -- node server.js');
    assert.doesNotMatch(running.stderr, /Warning/);
    assert.match(running.stderr, new RegExp(`^4 workers serve at 127\\.0\\.0\\.1:${ports[3000]}$`, 'm'));
    const all = orders();
    for (const word of [
      'status',
      'status --json',
      'reload',
      'reload --fresh',
      'refork',
      'inspect --worker 1',
    ])
      assert.ok(all.includes(`forkpoint serve ${word}`), `${word} is not among ${all.join(', ')}`);
    // First of all, since the other orders replace the worker.
    const [inspect = ''] = all.filter((line) => line.includes('inspect'));
    const address = await run(`${inspect} --port ${ports[9229]}`);
    assert.equal(await evaluate(address.trim(), 'process.env.FORKPOINT_WORKER'), '1');
    for (const line of all) if (line !== inspect) await run(line);
    const [shown = ''] = blocks('console');
    const heading = /^WORKER .*$/m.exec(shown)?.[0].split(/ +/);
    assert.deepEqual(/^WORKER .*$/m.exec(await run('forkpoint serve status'))?.[0].split(/ +/), heading);
    await run(`curl -sf http://127.0.0.1:${ports[9464]}/readyz`);
    await stop(running);
    rmSync(join(person.scratch, 'forkpoint.config.ts'));
  });

  test('name options that there are, and a unit whose command serves', async () => {
    const { stdout: help } = await runToEnd([command, 'serve', '--help'], { env });
    const [, table = ''] = /^\| option \|.*\n([^]*?)\n\n/m.exec(PAGES[0] ?? '') ?? [];
    const named = [...table.matchAll(/^\| `(--[a-z-]+)/gm)].map(([, option = '']) => option);
    const known = [...help.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, option = '']) => option);
    assert.deepEqual(named.toSorted(), known.toSorted());
    const [, line = ''] = /^ExecStart=\/usr\/local\/bin\/(.*)$/m.exec(UNIT) ?? [];
    await stop(await begin(line));
  });
});
