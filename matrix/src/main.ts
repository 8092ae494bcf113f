// Tries the families. Usage: node matrix/src/main.ts CACHE [--only NAME,...] [--node 20,22,24,26] [--jobs N]; see scripts/matrix.mjs.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '@forkpoint/testkit';
import { messageOf } from './client.ts';
import { drive } from './drive.ts';
import type { Result } from './drive.ts';
import { families } from './families.ts';
import type { Family, ServerName } from './family.ts';
import { report } from './report.ts';
import type { Row } from './report.ts';
import { startServer } from './servers.ts';
import type { Server } from './servers.ts';

const [cache = '', ...rest] = process.argv.slice(2);
const { values } = parseArgs({
  args: rest,
  options: {
    only: { type: 'string' },
    node: { type: 'string', default: '24' },
    jobs: { type: 'string', default: '1' },
  },
});
const modules = join(cache, 'node_modules');
const servers = new Map<ServerName, Promise<Server>>();
const VARIABLES = { postgres: 'POSTGRES_URL', mariadb: 'MARIADB_URL', redis: 'REDIS_URL' } as const;
const stored = join(cache, 'results.json');

/** The families to be tried on one version of Node.js: all on 24 or when named, else the third for every version. */
function chosen(major: number): readonly Family[] {
  const names = values.only?.split(',');
  const unknown = names?.filter((name) => families.every((family) => family.name !== name)) ?? [];
  if (unknown.length > 0)
    throw new Error(
      `no family ${unknown.join(', ')}; there are ${families.map(({ name }) => name).join(', ')}`,
    );
  return families.filter((family) =>
    names === undefined ? major === 24 || family.isWide === true : names.includes(family.name),
  );
}

function nodeOf(major: number): string {
  return major === 20 || major === 24
    ? join(root, `node_modules/node${major}/bin/node`)
    : join(modules, `node${major}/bin/node`);
}

async function urlsOf(family: Family): Promise<Record<string, string>> {
  const urls: Record<string, string> = {};
  for (const name of family.servers ?? []) {
    const server = servers.get(name) ?? startServer(name);
    servers.set(name, server);
    urls[VARIABLES[name]] = (await server).url;
  }
  return urls;
}

async function attempt(family: Family, major: number, node: string): Promise<Row> {
  const keep = join(cache, 'logs', `${family.name}-node${major}`);
  const began = performance.now();
  let result: Result;
  try {
    if (major < (family.minimumNode ?? 20))
      throw new Error(`the library needs Node.js ${family.minimumNode}`);
    result = await drive(family, {
      apps: join(cache, 'apps'),
      modules,
      node: nodeOf(major),
      urls: await urlsOf(family),
      keep,
    });
  } catch (error) {
    result = { status: 'failed', text: messageOf(error), figures: {}, notes: [] };
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${result.status.padEnd(8)} ${family.name} on Node.js ${node}, ${seconds} s`);
  for (const note of result.notes) console.log(`         ${note}`);
  if (result.status !== 'works')
    console.log(`         ${result.text.replaceAll('\n', '\n         ')}\n         logs: ${keep}`);
  return { family, node, result };
}

/** Earlier rows, so that trying one family again leaves the others in the table. */
function earlier(): Row[] {
  let kept: { name: string; node: string; result: Result }[];
  try {
    kept = JSON.parse(readFileSync(stored, 'utf8')) as typeof kept;
  } catch {
    // This is the first call.
    return [];
  }
  return kept.flatMap(({ name, node, result }) =>
    families.filter((family) => family.name === name).map((family) => ({ family, node, result })),
  );
}

const rows = new Map(earlier().map((row) => [`${row.family.name} ${row.node}`, row]));
let good = 0;
let bad = 0;
mkdirSync(cache, { recursive: true });
for (const major of values.node.split(',').map(Number)) {
  const node = execFileSync(nodeOf(major), ['-p', 'process.versions.node'], {
    encoding: 'utf8',
    timeout: 20_000,
  }).trim();
  const queue = [...chosen(major)];
  const job = async (): Promise<void> => {
    for (let family = queue.shift(); family !== undefined; family = queue.shift()) {
      const row = await attempt(family, major, node);
      if (row.result.status === 'works') good++;
      else bad++;
      rows.set(`${family.name} ${node}`, row);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Number(values.jobs)) }, job));
}
for (const server of servers.values()) {
  // One that did not start has been reported with its family.
  await server.then(
    async ({ stop }) => await stop(),
    () => undefined,
  );
}
const order = (row: Row): number => families.indexOf(row.family);
const major = (row: Row): number => Number.parseInt(row.node, 10);
// 24 first: it is the version on which all are tried.
const sorted = [...rows.values()].sort(
  (a, b) => Number(major(b) === 24) - Number(major(a) === 24) || major(a) - major(b) || order(a) - order(b),
);
writeFileSync(
  stored,
  JSON.stringify(sorted.map(({ family, node, result }) => ({ name: family.name, node, result }))),
);
writeFileSync(join(root, 'docs/matrix.md'), report(sorted, modules));
console.log(`\n${good} work, ${bad} do not; the table is docs/matrix.md`);
process.exitCode = bad === 0 ? 0 : 1;
