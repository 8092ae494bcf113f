import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:http2';
import { get as getSecurely } from 'node:https';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary, programPath, Running } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { command, write } from './pods.ts';
import { freePort, Load, serve, statusOf } from './serving.ts';

/** Asks over HTTP/2, so many times on one connection; returns the answers. */
async function askBySession(port: number, count: number): Promise<string[]> {
  const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  const answers = await Promise.all(
    Array.from(
      { length: count },
      async () =>
        await new Promise<string>((resolve, reject) => {
          const stream = session.request({ ':path': '/' });
          let text = '';
          stream.setEncoding('utf8').on('data', (more: string) => (text += more));
          stream.once('end', () => resolve(text)).once('error', reject);
        }),
    ),
  );
  await new Promise<void>((resolve) => session.close(resolve));
  return answers;
}

async function askSecurely(port: number): Promise<string> {
  return await new Promise((resolve, reject) => {
    const asked = getSecurely(
      { host: '127.0.0.1', port, rejectUnauthorized: false, agent: false },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (more: string) => (text += more));
        response.once('end', () => resolve(text));
      },
    );
    asked.once('error', reject);
  });
}

/** Fetches with a status and a host of one's own. */
async function probe(port: number, path: string, headers = {}): Promise<{ status: number; text: string }> {
  return await new Promise((resolve, reject) => {
    const asked = get({ host: '127.0.0.1', port, path, agent: false, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more: string) => (text += more));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    asked.once('error', reject);
  });
}

/** How large the heap of a Node.js with these options may become, in bytes: it grows with the young generation. */
function heapLimit(...options: readonly string[]): number {
  const code = 'v8.getHeapStatistics().heap_size_limit';
  return Number(execFileSync(nodeBinary(24), [...options, '-p', code], { encoding: 'utf8' }));
}

// What a service manager does: opens the socket, and writes down what it is told.
const MANAGER = `
use Socket;
my ($notify, $port, @command) = @ARGV;
socket(my $told, AF_UNIX, SOCK_DGRAM, 0) or die;
bind($told, pack_sockaddr_un($notify)) or die;
chmod 0777, $notify;
socket(my $listener, AF_INET, SOCK_STREAM, 0) or die;
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);
bind($listener, pack_sockaddr_in($port, inet_aton('127.0.0.1'))) or die;
listen($listener, 100);
my $pid = fork();
if ($pid == 0) {
  require POSIX;
  POSIX::dup2(fileno($listener), 3);
  $^F = 3;
  open(my $kept, '<&=', 3);
  require Fcntl;
  fcntl($kept, Fcntl::F_SETFD(), 0);
  $ENV{NOTIFY_SOCKET} = $notify;
  $ENV{WATCHDOG_USEC} = 400000;
  $ENV{LISTEN_FDS} = 1;
  $ENV{LISTEN_PID} = $$;
  exec @command;
}
$SIG{TERM} = sub { kill 'TERM', $pid };
$SIG{HUP} = sub { kill 'HUP', $pid };
$| = 1;
while (1) {
  my $ready = ''; vec($ready, fileno($told), 1) = 1;
  if (select($ready, undef, undef, 0.1) > 0) {
    recv($told, my $text, 4096, 0);
    $text =~ s/\\n/ /g;
    print "told $text\\n";
  } elsif (waitpid($pid, 1) == $pid) { exit($? >> 8); }
}
`;

describe('operating forkpoint serve', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => {
    await Load.endAll();
    await person.leave();
  });

  test('serves https and HTTP/2, counts both, and rolls both out', async () => {
    const port = await freePort();
    const running = serve(person, port, ['--workers', '2', '--refork', '10'], 'secure.cjs');
    await running.output(/^2 workers serve/m, 60_000);
    assert.match(await askSecurely(port), /^[01] 1\.1$/);
    const answers = await askBySession(port + 1, 12);
    assert.deepEqual(new Set(answers.map((text) => text.slice(2))), new Set(['2.0']));
    await running.output(/^image 1 of generation 1 was made from worker/m, 60_000);
    await eventually(async () => {
      const { workers, totals } = await statusOf(person);
      assert.equal(totals.requests, 13);
      return workers.length === 2 && workers.every(({ mold }) => mold === 1) ? true : undefined;
    }, 'workers of the next generation');
    assert.match(await askSecurely(port), /^[01] 1\.1$/);
    assert.equal((await askBySession(port + 1, 2)).length, 2);
    assert.equal((await running.stop('SIGTERM')).code, 0);
  });

  test('tells a service manager how it is, listens at the socket that it was given, and shows a page in a real browser and metrics to operators', async () => {
    const [port, own, admin] = [await freePort(), await freePort(), await freePort()];
    const notify = join(person.scratch, 'notify');
    const manager = write(person, 'manager.pl', MANAGER);
    const program = write(person, 'served.cjs', readFileSync(programPath('serving.cjs'), 'utf8'));
    const running = person.start(
      [
        ...['perl', manager, notify, String(port), command, 'serve', '--workers', '2', '--refork', 'off'],
        ...['--admin', String(admin), '--log', 'json', '--', nodeBinary(24), program],
      ],
      { env: { PORT: String(own) }, timeoutMs: 120_000 },
    );
    await running.output(/^told READY=1 STATUS=2 workers serve at 127\.0\.0\.1:/m, 60_000);
    await running.output(/^told WATCHDOG=1/m);
    assert.match(running.stderr, /^\{"time":"[^"]+","level":"info","message":"2 workers serve at /m);
    assert.match(running.stdout, /^\{"time".*"worker":null,"generation":null,"message":"started /m);
    const load = new Load(port);
    await eventually(() => (load.answers.length > 50 ? true : undefined), 'answers at the given socket');
    assert.equal((await probe(admin, '/readyz')).text, 'serving, 2 ready\n');
    assert.equal((await probe(admin, '/livez')).text, 'ok\n');
    // Workers tell ten times a second what they have counted.
    const text = await eventually(async () => {
      const metrics = (await probe(admin, '/metrics')).text;
      return /^http_requests_total \d{2,}$/m.test(metrics) ? metrics : undefined;
    }, 'counted requests');
    const figure = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
    assert.ok(figure('http_requests_total') >= 10, text);
    assert.ok(figure('http_request_duration_seconds_count') > 0);
    assert.equal(figure('forkpoint_workers\\{state="ready"\\}'), 2);
    assert.match(text, /^process_resident_memory_bytes\{worker="0",pid="\d+",generation="1"\} \d{7,}$/m);
    const [, version = ''] = /^v(\S+)$/.exec(process.version) ?? [];
    assert.match(text, new RegExp(`^nodejs_version_info\\{.*version="v${version}",major="24",.*\\} 1$`, 'm'));
    for (const name of [
      'nodejs_heap_size_used_bytes',
      'nodejs_heap_size_total_bytes',
      'nodejs_external_memory_bytes',
    ])
      assert.match(text, new RegExp(`^${name}\\{worker="1",.*\\} \\d{4,}$`, 'm'));
    assert.match(text, /^process_cpu_user_seconds_total\{worker="0",.*\} [\d.]+$/m);
    const page = await probe(admin, '/');
    assert.match(page.text, /<ul id="forks" role="tree"/);
    assert.equal((await probe(admin, '/', { host: 'evil.example' })).status, 421);
    assert.equal((await probe(admin, '/status', { host: `127.0.0.1:${admin}` })).status, 200);

    // The page itself, in a browser: workers, forks as a tree, keys, light and dark, a narrow screen.
    const pictures = join(person.scratch, 'pictures');
    const script = join(command, '../../scripts/page.mjs');
    const looked = new Running([nodeBinary(24), script, '--at', `127.0.0.1:${admin}`, '--out', pictures], {
      cwd: person.scratch,
      env: process.env,
      timeoutMs: 120_000,
    });
    const { code, stdout, stderr } = await looked.end();
    assert.equal(code, 0, stdout + stderr);
    assert.equal([...stdout.matchAll(/^ok {4}/gm)].length, 12, stdout);
    for (const scheme of ['light', 'dark'])
      assert.ok(statSync(join(pictures, `serve-${scheme}.png`)).size > 10_000);

    // The title is cut to the length of the command line, so that what counts stands first.
    const { workers } = await statusOf(person);
    await eventually(() => {
      const titles = workers.map(({ pid }) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')[0]);
      return titles.every((title) => /^w[01] g1 r\d+ /.test(title ?? '')) ? true : undefined;
    }, 'titles with generation and requests');

    write(person, 'served.cjs', `${readFileSync(program, 'utf8')}// new\n`);
    running.child.kill('SIGHUP');
    await running.output(/^told RELOADING=1 MONOTONIC_USEC=\d+ STATUS=.*\n(?:told WATCHDOG=1\n)*/m, 60_000);
    await running.output(/^told RELOADING=1.*\n(?:(?!told READY).*\n)*told READY=1/m, 60_000);
    await load.end();
    assert.deepEqual(load.errors, []);
    running.child.kill('SIGTERM');
    assert.equal((await running.end()).code, 0);
    assert.match(running.stdout, /^told STOPPING=1/m);
    assert.ok(!existsSync(join(person.home, 'serve', 'c')));
  });

  test('runs hooks in workers and in the server, and gives a request that takes long its time', async () => {
    const port = await freePort();
    write(
      person,
      'forkpoint.config.ts',
      `import type { ServeConfig } from 'forkpoint';
export default {
  workers: 1,
  refork: [3],
  log: 'prefix',
  timeoutMs: 2000,
  hardTimeoutMs: 5000,
  youngGeneration: 2,
  afterMonitorReady(server) { server.log('hook: monitor'); },
  afterMoldFork(server, { generation, requests }) { server.log(\`hook: mold \${generation} \${requests}\`); },
  async afterWorkerFork(server, { number, generation }) { await 0; server.log(\`hook: fork \${number} \${generation}\`); },
  afterWorkerReady(server) { server.log('hook: ready'); },
  beforeWorkerExit(server, { requests }) { server.log(\`hook: exit \${requests}\`); },
  afterRequestComplete(server, worker, request) { if (request.url === '/told') server.log('hook: complete'); },
  afterWorkerTimeout(server, worker, { request, elapsedMs }) { server.log(\`hook: timeout \${request?.url} \${elapsedMs >= 2000}\`); },
  afterWorkerHardTimeout(server, { number }) { server.log(\`hook: hard \${number}\`); },
} satisfies ServeConfig;
`,
    );
    const program = write(
      person,
      'slow.cjs',
      `const { extendRequest } = require(${JSON.stringify(join(command, '../../packages/forkpoint/dist/index.cjs'))});
require('node:http').createServer((request, response) => {
  if (request.url === '/limit') return response.end(String(require('node:v8').getHeapStatistics().heap_size_limit));
  if (request.url === '/granted') console.log('granted', extendRequest(request, 60000));
  const ms = request.url === '/granted' ? 2500 : request.url === '/slow' ? 3000 : request.url === '/never' ? 9e6 : 0;
  setTimeout(() => response.end('done'), ms);
}).listen(Number(process.env.PORT), '127.0.0.1');
`,
    );
    const running = person.forkpoint(['serve', '--', nodeBinary(24), program], {
      env: { PORT: String(port), FORKPOINT_NODE: nodeBinary(24) },
      timeoutMs: 120_000,
    });
    await running.output(/^hook: monitor$/m, 60_000);
    await running.output(/^worker 0: hook: ready$/m);
    assert.match(running.stderr, /^worker 0: hook: fork 0 1$/m);
    assert.equal(await fetchText(port, '/told'), 'done');
    await running.output(/^worker 0: hook: complete$/m);
    assert.equal(Number(await fetchText(port, '/limit')), heapLimit('--max-semi-space-size=2'));
    assert.notEqual(heapLimit('--max-semi-space-size=2'), heapLimit());
    assert.equal(await fetchText(port, '/granted'), 'done');
    assert.match(running.stdout, /^\[w0 g1\] granted true$/m);
    assert.doesNotMatch(running.stderr, /has a request of/);
    await running.output(/^worker 0: hook: mold 1 3$/m, 60_000);
    await running.output(/^worker 0: hook: exit 3$/m, 60_000);
    assert.equal(await fetchText(port, '/slow'), 'done');
    await running.output(/^worker 1: hook: timeout \/slow true$/m);
    const never = fetchText(port, '/never').catch(() => 'cut');
    await running.output(/^hook: hard 0$/m, 60_000);
    assert.equal(await never, 'cut');
    const inspected = await person.finish(['serve', 'inspect', '--port', '0']);
    assert.match(inspected.stdout, /^ws:\/\/127\.0\.0\.1:\d+\/[0-9a-f-]+\n$/);
    assert.equal((await running.stop('SIGTERM')).code, 0);

    write(person, 'forkpoint.config.ts', 'export default { wokers: 3 };\n');
    const refused = await person.finish(['serve', '--', 'node', program], {
      env: { FORKPOINT_NODE: nodeBinary(24) },
    });
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /forkpoint\.config\.ts: there is no setting `wokers`\n.*Did you mean `workers`\?/,
    );
    const old = await person.finish(['serve', '--', 'node', program], {
      env: { FORKPOINT_NODE: nodeBinary(20) },
    });
    assert.equal(old.code, 1);
    assert.match(
      old.stderr,
      /forkpoint\.config\.ts cannot be read by Node\.js 20[\s\S]*forkpoint\.config\.mjs/,
    );
  });

  test('says who holds the address of its page', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const address = taken.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const refused = await person.finish([
      ...['serve', '--config', programPath('no.mjs'), '--admin', String(port), '--', 'node', 'x.js'],
    ]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /configuration \S+no\.mjs cannot be loaded/);
    const busy = await person.finish([
      'serve',
      '--config',
      write(person, 'empty.mjs', 'export default {};'),
      '--admin',
      String(port),
      '--',
      'node',
      'x.js',
    ]);
    await new Promise((resolve) => taken.close(resolve));
    assert.equal(busy.code, 1);
    assert.match(busy.stderr, new RegExp(`annot listen at 127.0.0.1:${port}: .*EADDRINUSE`));
  });
});
