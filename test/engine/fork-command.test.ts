import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary, root } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { detach, gone, launcherOf, living, logged, write } from './pods.ts';

/** A child as `forkpoint fork -d --json` tells it. */
interface Child {
  readonly id: string;
  readonly parentId: string;
  readonly generation: number;
  readonly index: number;
}

// Answers with the id of its run.
const SERVER = `
const server = require('node:http').createServer((request, response) => {
  if (request.url === '/end') process.exit(3);
  response.setHeader('connection', 'close');
  response.end(JSON.parse(require('node:fs').readFileSync(process.env.FORKPOINT_DIR + '/identity.json', 'utf8')).id);
});
server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));
process.on('SIGUSR2', () => console.log('told'));
`;

// A child allocates from malloc and lets go of it again, but for pieces in between: free(3) alone returns nothing of that to the kernel.
const USING = `
const used = { beforeCheckpoint() {}, afterRestore() {
  let held = Array.from({ length: 400 }, () => Buffer.allocUnsafeSlow(65536).fill(1));
  used.kept = held.filter((_, at) => at % 40 === 39);
  held = undefined;
  gc();
  gc();
  console.log('used ' + process.memoryUsage().rss);
} };
require(process.argv[2]).Core.getGlobalContext().register(used);
setInterval(() => used, 1e6);
console.log('up');
`;
/** Bytes that have to go: of 26 MB the pieces in between stay. */
const USING_FREED = 15_000_000;

describe('forkpoint fork', () => {
  let person: Person;
  let id: string;
  let port: number;
  before(async () => {
    person = createPerson();
    write(person, 'server.cjs', SERVER);
    id = await detach(person, [nodeBinary(24), 'server.cjs'], ['--name', 'shop']);
    port = Number((await logged(person, id, /port (\d+)/))[1]);
  });
  after(async () => await person.leave());

  /** Asks until so many programs have answered. */
  async function answering(count: number): Promise<void> {
    const ids = new Set<string>();
    await eventually(async () => {
      ids.add(await fetchText(port, '/').catch(() => ''));
      ids.delete('');
      return ids.size === count ? true : undefined;
    }, `${count} programs answering`);
  }

  test('a child that has come to rest gives back what its malloc holds free', async () => {
    write(person, 'using.cjs', USING);
    const library = join(root, 'packages/forkpoint/dist/index.cjs');
    const parent = await detach(
      person,
      [nodeBinary(24), '--expose-gc', 'using.cjs', library],
      ['--name', 'using'],
    );
    await logged(person, parent, /^up$/m);
    const [child] = (await person.json(['fork', 'using', '-d'])) as Child[];
    const used = Number((await logged(person, child?.id ?? '', /^used (\d+)$/m))[1]);
    const run = (await living(person)).find((one) => one.id === child?.id);
    const wanted = used - USING_FREED;
    const resident = (): number =>
      Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${run?.hostPid}/status`, 'utf8'))?.[1]) * 1024;
    await eventually(
      () => (resident() < wanted ? true : undefined),
      `the child to have less than ${wanted} bytes`,
      60_000,
    );
    for (const one of [parent, child?.id ?? '']) await person.finish(['kill', one, '--signal', 'KILL']);
  });

  test('starts children of a run in the background, which share its port', async () => {
    const children = (await person.json(['fork', 'shop', '-n', '2', '-d', '--', 'blue'])) as Child[];
    assert.deepEqual(
      children.map(({ parentId, generation, index }) => [parentId, generation, index]),
      [
        [id, 1, 0],
        [id, 1, 1],
      ],
    );
    await answering(3);
    const ids = children.map((child) => child.id);
    assert.deepEqual(new Set((await living(person)).map((run) => run.id)), new Set([id, ...ids]));
    const launchers = ids.map((child) => launcherOf(person, child));
    process.kill(launchers[0] ?? 0, 'SIGKILL');
    await person.finish(['kill', ids[1] ?? '']);
    await gone(launchers, 'the children');
    const images = ids.map((child) => join(person.home, 'runs', child, 'image'));
    await eventually(
      () => (images.some((path) => existsSync(path)) ? undefined : true),
      'no image of an ended child',
    );
    await answering(1);
  });

  test('in the foreground hands on output and exit code, and several of an image share a port', async () => {
    const child = person.forkpoint(['fork', 'shop', '--listen', 'share=x'], {});
    child.child.stdin?.end();
    const refused = await child.end();
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /no listening socket share/);
    await person.json(['checkpoint', 'shop', './image', '--stop']);
    const brood = person.forkpoint(['fork', './image', '-n', '2']);
    brood.child.stdin?.end();
    await answering(2);
    brood.child.kill('SIGUSR2');
    await brood.output(/(told\n){2}/);
    let code: number | null = null;
    const ended = brood.end().then((result) => (code = result.code));
    // A child that is just ending may take a second connection with it.
    await eventually(async () => {
      await Promise.race([ended, fetchText(port, '/end').catch(() => undefined)]);
      return code ?? undefined;
    }, 'the end of both');
    assert.equal(code, 3);
    assert.deepEqual(await living(person), []);
    const left = readdirSync(join(person.home, 'cache')).filter((name) => name.startsWith('fork-'));
    assert.deepEqual(left, []);
  });
});
