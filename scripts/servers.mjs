// Servers on the JVM, with each JDK: booted, asked, checkpointed, restored three times at once at addresses of their own, asked again; a
// clone is checkpointed and restored once more. Usage: npm run servers. Prints the table of docs/runtimes.md.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { dataDirectory, setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const languages = join(root, '.forkpoint/languages');
const node = join(root, 'node_modules/node24/bin/node');
const forkpoint = join(root, 'bin/forkpoint');
const LIMIT_MS = 300_000;
const WARM_UP_REQUESTS = 50;
const CLONES = 3;

const NAMES = {
  Plain: 'HttpServer of the JDK',
  Netty: 'Netty 4.1.115',
  Jetty: 'Jetty 12.0.15',
  Micronaut: 'Micronaut 4.7.6',
  Spring: 'Spring Boot 3.3.5 (Tomcat)',
};

function run(argv, options = {}) {
  const { status, stdout, stderr } = spawnSync(argv[0], argv.slice(1), {
    encoding: 'utf8',
    timeout: LIMIT_MS,
    ...options,
  });
  if (status !== 0) throw new Error(`${argv.slice(0, 5).join(' ')} ended with ${status}: ${stderr}${stdout}`);
  return stdout;
}

/** Has Maven build the servers; returns their class path. */
function build() {
  const work = join(languages, 'servers');
  if (!existsSync(join(work, 'target/servers.jar'))) {
    cpSync(join(root, 'packages/testkit/src/programs/languages/servers'), work, { recursive: true });
    run([node, join(root, 'scripts/languages.ts'), '--maven', work], { stdio: 'inherit' });
  }
  const jars = readdirSync(join(work, 'target/dependency')).map((name) =>
    join(work, 'target/dependency', name),
  );
  return [join(work, 'target/servers.jar'), ...jars].join(':');
}

const ask = (port) =>
  new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, agent: false, timeout: 10_000 }, (response) => {
      let text = '';
      response.on('data', (part) => (text += part));
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
  });

async function eventually(what, test) {
  const until = performance.now() + LIMIT_MS;
  for (;;) {
    const found = await test();
    if (found !== undefined) return found;
    if (performance.now() > until) throw new Error(`waited for ${what} in vain`);
    await pause(5);
  }
}

/** Starts clones of an image at ports of their own; returns the ports and the ids. */
async function restore(image, slot, count, env) {
  const started = await Promise.all(
    Array.from({ length: count }, async () => {
      const child = spawn(forkpoint, ['restore', image, '-d', '--json', '--listen', `${slot}=127.0.0.1:0`], {
        env,
      });
      let out = '';
      let err = '';
      child.stdout.on('data', (part) => (out += part));
      child.stderr.on('data', (part) => (err += part));
      const code = await new Promise((done) => child.once('close', done));
      assert.equal(code, 0, err + out);
      return JSON.parse(out);
    }),
  );
  return started.map(({ id, slots }) => ({
    id,
    port: Number(/:(\d+)$/.exec(slots.find((one) => one.id === slot)?.address ?? '')?.[1]),
  }));
}

/** The only TCP slot of an image, which is named after its port. */
function slotOf(image) {
  const { slots } = JSON.parse(readFileSync(join(image, 'manifest.json'), 'utf8'));
  return slots.find(({ kind }) => kind === 'tcp').id;
}

async function walk(java, argv, scratch, env) {
  const { id } = JSON.parse(run([forkpoint, 'run', '-d', '--json', '--', java, ...argv], { env }));
  const log = () => run([forkpoint, 'logs', id], { env });
  const port = await eventually('a port', () => {
    const text = log();
    return /(?:^port |Tomcat started on port )(\d+)/m.exec(text)?.[1];
  });
  for (let hit = 1; hit <= WARM_UP_REQUESTS; hit++) {
    const answer = await eventually('an answer', () => ask(port).catch(() => undefined));
    assert.match(answer, new RegExp(`^${hit} `));
  }
  const image = join(scratch, 'image');
  run([forkpoint, 'checkpoint', id, image, '--stop'], { env });
  const slot = slotOf(image);
  const clones = await restore(image, slot, CLONES, env);
  let hit = WARM_UP_REQUESTS;
  // Threads of a JVM may draw before the renewal (docs/clones-java.md): from some answer on all differ.
  await eventually('numbers of their own', async () => {
    hit++;
    const answers = await Promise.all(
      clones.map((clone) => eventually('an answer', () => ask(clone.port).catch(() => undefined))),
    );
    for (const answer of answers) assert.match(answer, new RegExp(`^${hit} `));
    return new Set(answers).size === CLONES ? true : undefined;
  });
  const second = join(scratch, 'second');
  run([forkpoint, 'checkpoint', clones[0].id, second, '--stop'], { env });
  const [later] = await restore(second, slotOf(second), 1, env);
  assert.match(
    await eventually('an answer', () => ask(later.port).catch(() => undefined)),
    new RegExp(`^${hit + 1} `),
  );
  for (const clone of [clones[1], clones[2], later])
    run([forkpoint, 'kill', clone.id, '-s', 'KILL'], { env });
}

await setup({ runtimes: true, languages: true });
run([node, join(root, 'scripts/languages.ts'), '--jdk21'], { stdio: 'inherit' });
const classPath = build();
const env = { ...process.env, FORKPOINT_HOME: dataDirectory() };
// By the name `java`, by which forkpoint knows it.
const jdks = { 17: 'bin/java', 21: 'jdk21/bin/java', 25: 'jdk25/bin/java' };
const rows = [];
for (const [name, title] of Object.entries(NAMES)) {
  const cells = [];
  for (const command of Object.values(jdks)) {
    const scratch = mkdtempSync(join(dataDirectory(), 'servers-'));
    const flags = ['-Dforkpoint.hooks=off', '-XX:+UseSerialGC'];
    const argv =
      name === 'Spring'
        ? [...flags, '-Dserver.port=0', '-jar', join(languages, 'spring/target/app.jar')]
        : [...flags, '-cp', classPath, `app.${name}`];
    try {
      await walk(join(languages, command), argv, scratch, env);
      cells.push('works');
    } catch (error) {
      console.error(`${title}, ${command}: ${error.stack}`);
      cells.push('fails');
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
    console.log(`${title}, ${command}: ${cells.at(-1)}`);
  }
  rows.push([title, ...cells]);
}
console.log(
  `\n| server | ${Object.keys(jdks)
    .map((major) => `JDK ${major}`)
    .join(' | ')} |\n|---|---|---|---|`,
);
for (const row of rows) console.log(`| ${row.join(' | ')} |`);
process.exitCode = rows.flat().includes('fails') ? 1 : 0;
