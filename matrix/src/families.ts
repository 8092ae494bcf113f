import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectSocketIo, connectWs, converse } from './connections.ts';
import { ask, expectJson, expectText, strings } from './client.ts';
import type { Family, Place, Target } from './family.ts';
import { loggedMarks, watchedCompile } from './files.ts';

const app =
  (name: string) =>
  (place: Place): readonly string[] => [join(place.apps, name)];
const randoms = async ({ port }: Target): Promise<string[]> => await strings(port, '/random');
const graphql = (query: string): { query: string } => ({ query });

/** A web server with `/item/:id`, `/random` and a counter at `/`. */
function web(
  name: string,
  title: string,
  file: string,
  packages: readonly string[],
  rest: Partial<Family> = {},
): Family {
  const item = async ({ port }: Target): Promise<void> =>
    await expectJson(port, '/item/7', { id: 7, square: 49 });
  const probe = async (target: Target): Promise<void> => {
    await item(target);
    await expectText(target.port, '/', new RegExp(`"hello":"${name}","visits":\\d+`));
  };
  return { name, title, packages, argv: app(file), probe, randoms, load: item, ...rest };
}

/** A program behind the plain server: the pages and what they answer. */
function pages(
  name: string,
  title: string,
  file: string,
  packages: readonly string[],
  answers: Readonly<Record<string, unknown>>,
  rest: Partial<Family> = {},
): Family {
  const first = Object.keys(answers)[0] ?? '/random';
  const probe = async ({ port }: Target): Promise<void> => {
    for (const [path, answer] of Object.entries(answers)) await expectJson(port, path, answer);
  };
  const load = async ({ port }: Target): Promise<void> => await expectJson(port, first, answers[first]);
  return { name, title, packages, argv: app(file), probe, randoms, load, ...rest };
}

/** A database: what was written first can be read, and new rows get new numbers. */
function database(
  name: string,
  title: string,
  file: string,
  packages: readonly string[],
  first: unknown,
  rest: Partial<Family> = {},
): Family {
  const base = pages(name, title, file, packages, { '/first': first });
  const probe = async (target: Target): Promise<void> => {
    await base.probe(target);
    const [one, two] = [await ask(target.port, '/visit'), await ask(target.port, '/visit')].map((text) =>
      Number(/\d+/.exec(text)?.[0]),
    );
    if (!(one !== undefined && two !== undefined && two > one))
      throw new Error(`/visit answered ${one} and then ${two}`);
  };
  return { ...base, probe, ...rest };
}

function graph(name: string, title: string, file: string, packages: readonly string[]): Family {
  const square = async ({ port }: Target): Promise<void> =>
    await expectJson(
      port,
      '/',
      { data: { hello: 'hello you', square: 49 } },
      graphql('{ hello(name: "you") square(of: 7) }'),
    );
  const pick = (value: unknown): unknown => (value as { data?: { random?: unknown } }).data?.random;
  const draw = async ({ port }: Target): Promise<string[]> =>
    await strings(port, '/', pick, graphql('{ random }'));
  return { name, title, packages, argv: app(file), probe: square, load: square, randoms: draw };
}

const logging = (
  name: string,
  title: string,
  file: string,
  packages: readonly string[],
  logs: readonly string[],
): Family => ({
  ...pages(name, title, file, packages, { '/log?mark=load': { logged: 'load' } }),
  isWide: name === 'pino',
  probe: async (target) => await loggedMarks(target, logs),
});

const trpc: Family = {
  ...pages('trpc', 'tRPC', 'trpc.mjs', ['@trpc/server'], { '/square?input=7': { result: { data: 49 } } }),
  randoms: async ({ port }) =>
    await strings(port, '/random', (value) => (value as { result?: { data?: unknown } }).result?.data),
};

const piscina: Family = {
  ...pages(
    'piscina',
    'Piscina, worker threads',
    'piscina.mjs',
    ['piscina'],
    { '/square?of=7': { square: 49 } },
    { isWide: true },
  ),
  randoms: async ({ port }) => {
    const drawn = [await strings(port, '/random')];
    // Enough to hear of both workers.
    for (let i = 0; i < 6; i++) drawn.push(await strings(port, '/worker-random'));
    return drawn.flat();
  },
};

const next: Family = {
  name: 'next',
  title: 'Next.js, `next start`',
  packages: ['next', 'react'],
  argv: ({ modules, port }) => [
    join(modules, 'next/dist/bin/next'),
    'start',
    '-p',
    String(port),
    '-H',
    '127.0.0.1',
  ],
  cwd: ({ apps }) => join(apps, 'next'),
  probe: async ({ port }) => await expectText(port, '/', /hello next/),
  load: async ({ port }) => await expectText(port, '/', /hello next/),
  randoms,
  isWide: true,
};

const astro: Family = {
  name: 'astro',
  title: 'Astro, server rendering',
  packages: ['astro', '@astrojs/node'],
  argv: ({ apps }) => [join(apps, 'astro/dist/server/entry.mjs')],
  probe: async ({ port }) => await expectText(port, '/', /hello astro at \//),
  load: async ({ port }) => await expectText(port, '/', /hello astro at \//),
  randoms,
};

const vite: Family = {
  name: 'vite',
  title: 'Vite, development server',
  packages: ['vite'],
  argv: ({ modules, port }) => [
    join(modules, 'vite/bin/vite.js'),
    '--host',
    '127.0.0.1',
    '--port',
    String(port),
    '--strictPort',
  ],
  cwd: ({ data }) => data,
  prepare: ({ data }) => {
    writeFileSync(
      join(data, 'package.json'),
      '{ "name": "matrix-vite", "private": true, "type": "module" }\n',
    );
    writeFileSync(
      join(data, 'index.html'),
      '<!doctype html>\n<title>hello vite</title>\n<script type="module" src="/main.ts"></script>\n',
    );
    writeFileSync(join(data, 'main.ts'), "const text: string = 'hello vite';\ndocument.body.append(text);\n");
  },
  probe: async (target) => {
    await expectText(target.port, '/', /@vite\/client[\s\S]*hello vite/);
    await expectText(target.port, '/main.ts', /const text = ['"]hello vite['"]/);
  },
  load: async ({ port }) => await expectText(port, '/main.ts', /const text = ['"]hello vite['"]/),
};

const tsc: Family = {
  name: 'tsc-watch',
  title: '`tsc --watch`',
  packages: ['typescript'],
  argv: ({ modules }) => [join(modules, 'typescript/bin/tsc'), '--watch', '--preserveWatchOutput'],
  cwd: ({ data }) => data,
  prepare: ({ data }) => {
    mkdirSync(join(data, 'src'));
    writeFileSync(
      join(data, 'tsconfig.json'),
      '{ "compilerOptions": { "outDir": "out", "rootDir": "src", "types": [] }, "include": ["src"] }\n',
    );
    writeFileSync(join(data, 'src/main.ts'), 'export const first: number = 1;\n');
  },
  probe: watchedCompile,
};

const POSTGRES = { servers: ['postgres'] } as const;

/** The 25 families, the likely ones first. */
export const families: readonly Family[] = [
  web('express', 'Express', 'express.cjs', ['express'], { isWide: true }),
  web('fastify', 'Fastify', 'fastify.mjs', ['fastify'], { isWide: true }),
  web('koa', 'Koa', 'koa.cjs', ['koa', '@koa/router']),
  web('nest', 'NestJS', 'nest.mjs', ['@nestjs/core', '@nestjs/platform-express'], { isWide: true }),
  graph('apollo', 'Apollo Server', 'apollo.mjs', ['@apollo/server', 'graphql']),
  graph('yoga', 'GraphQL Yoga', 'yoga.mjs', ['graphql-yoga', 'graphql']),
  trpc,
  pages(
    'socket-io',
    'Socket.IO with connected clients',
    'socket-io.cjs',
    ['socket.io'],
    {},
    { connect: connectSocketIo, load: countClients, probe: converse(connectSocketIo), isWide: true },
  ),
  pages(
    'ws',
    'ws with connected clients',
    'ws.mjs',
    ['ws'],
    {},
    { connect: connectWs, load: countClients, probe: converse(connectWs), isWide: true },
  ),
  pages(
    'undici',
    'undici, pools to itself',
    'undici.mjs',
    ['undici'],
    { '/own?path=a': { path: '/a' } },
    { minimumNode: 22 },
  ),
  pages('sharp', 'sharp', 'sharp.mjs', ['sharp'], {
    '/resize?width=80': { across: 60, down: 80, format: 'png' },
  }),
  piscina,
  database('node-sqlite', 'node:sqlite', 'node-sqlite.mjs', ['node'], { who: 'first' }, { minimumNode: 24 }),
  database('better-sqlite3', 'better-sqlite3', 'better-sqlite3.cjs', ['better-sqlite3'], { who: 'first' }),
  logging(
    'pino',
    'pino, files and a transport',
    'pino.cjs',
    ['pino'],
    ['direct.log', 'buffered.log', 'transport.log'],
  ),
  logging('winston', 'winston', 'winston.cjs', ['winston'], ['winston.log']),
  next,
  astro,
  vite,
  tsc,
  database('pg', 'pg and PostgreSQL', 'pg.cjs', ['pg'], { who: 'first' }, { ...POSTGRES, isWide: true }),
  database('knex', 'Knex and PostgreSQL', 'knex.cjs', ['knex', 'pg'], { title: 'first' }, POSTGRES),
  database(
    'mysql2',
    'mysql2 and MariaDB',
    'mysql2.mjs',
    ['mysql2'],
    { who: 'first' },
    { servers: ['mariadb'] },
  ),
  database(
    'ioredis',
    'ioredis and Redis',
    'ioredis.cjs',
    ['ioredis'],
    { who: 'first' },
    { servers: ['redis'], isWide: true },
  ),
  pages(
    'bullmq',
    'BullMQ and Redis',
    'bullmq.mjs',
    ['bullmq', 'ioredis'],
    { '/square?of=7': { square: 49 } },
    { servers: ['redis'] },
  ),
];

/** The load of a family whose clients are connections. */
async function countClients({ port }: Target): Promise<void> {
  await expectText(port, '/clients', /"clients":\d+/);
}
