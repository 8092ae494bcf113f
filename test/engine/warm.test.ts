import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary } from '@forkpoint/testkit';
import type { Finished, Person, SpawnOptions } from '@forkpoint/testkit';

/** A command line with a dependency, which reads what such tools read. */
const TOOL = `#!/usr/bin/env node
const { load, flavour } = require('dependency');
const [what, ...rest] = process.argv.slice(2);
process.on('exit', (code) => what === 'exits' && console.log('exit ' + code));
const facts = () => ({
  args: rest, cwd: process.cwd(), argv1: process.argv[1], flavour, load: load(process.cwd()), home: process.env.HOME,
  mark: rest[1] && process.env[rest[1]], columns: process.stdout.columns, terminals: [0, 1, 2].map((fd) => require('tty').isatty(fd)),
  umask: process.umask(), main: require.main === module, exit: process.exitCode,
});
if (what === 'stdin') process.stdin.pipe(process.stdout);
else if (what === 'wait') { console.log('waiting'); setInterval(() => {}, 1000); }
else if (what === 'throw') { JSON.parse('{'); }
else if (what === 'reject') Promise.reject(new TypeError('no'));
else if (what === 'write') require('fs').writeFileSync(rest[0], 'made\\n');
else if (what === 'much') { for (let i = 0; i < 20000; i++) console.log('line ' + i); process.exitCode = 3; }
else { console.log(JSON.stringify(facts())); console.error('to stderr'); process.exitCode = Number(rest[0] ?? 0); }
`;
const DEPENDENCY = `
exports.flavour = process.env.FLAVOUR ?? 'plain';
exports.load = (directory) => { try { return require('fs').readFileSync(directory + '/settings', 'utf8'); } catch { return null; } };
`;
/** Answers differently when it has been called before. */
const STATEFUL = `#!/usr/bin/env node
console.log(require('REQUIRED').next());
`;
const COUNTER = 'let calls = 0; exports.next = () => ++calls;';

describe('a warm command line', () => {
  let person: Person;
  let project: string;
  let executable: string;

  function put(path: string, text: string): void {
    const file = join(project, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  function packageOf(name: string, files: Readonly<Record<string, string>>): void {
    for (const [path, text] of Object.entries(files)) put(join('node_modules', name, path), text);
  }

  function command(name: string, text: string): void {
    packageOf(name, { 'package.json': JSON.stringify({ name, version: '1.0.0' }), 'cli.js': text });
    chmodSync(join(project, 'node_modules', name, 'cli.js'), 0o755);
    symlinkSync(`../${name}/cli.js`, join(project, 'node_modules/.bin', name));
  }

  const environment = { FORKPOINT_WARM_DEBUG: '1', FORKPOINT_WARM_REFRESH: '0' };
  const path = `${dirname(nodeBinary(24))}:/usr/bin:/bin`;

  async function call(args: readonly string[], options: SpawnOptions = {}): Promise<Finished> {
    const running = person.start([executable, ...args], {
      cwd: project,
      ...options,
      env: { PATH: path, ...environment, ...options.env },
    });
    if (options.input === undefined) running.child.stdin?.end();
    return await running.end();
  }

  /** Calls it from the image and by node, and asserts that both come to the same. */
  async function same(args: readonly string[], options: SpawnOptions = {}): Promise<Finished> {
    const warm = await call(args, options);
    const entry = join(project, 'node_modules/.bin/tool');
    const running = person.start([entry, ...args], {
      cwd: project,
      ...options,
      env: { PATH: path, ...environment, ...options.env },
    });
    if (options.input === undefined) running.child.stdin?.end();
    const cold = await running.end();
    assert.deepEqual(
      [warm.stdout, warm.stderr.replaceAll(/^forkpoint warm: .*\n/gm, ''), warm.code],
      [cold.stdout, cold.stderr, cold.code],
      `${args.join(' ')}: ${warm.stderr}`,
    );
    return warm;
  }

  before(async () => {
    person = createPerson();
    project = join(person.scratch, 'project');
    put('package.json', '{"name":"project"}');
    put('inner/deep/settings', 'deep');
    mkdirSync(join(project, 'node_modules/.bin'), { recursive: true });
    packageOf('dependency', { 'index.js': DEPENDENCY });
    command('tool', TOOL);
    execFileSync('chown', ['-R', `${person.uid}:${person.uid}`, project]);
    const { code, stdout, stderr } = await person.finish(
      ['warm', 'tool', '--runs', '3', '--', 'npx', 'tool', 'facts'],
      {
        cwd: project,
        env: { PATH: path },
      },
    );
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Warmed without a terminal/);
    assert.match(stderr, /Warmed on a terminal/);
    executable = stdout.trim();
  });
  after(async () => await person.leave());

  function assertWarm({ stderr }: Finished): void {
    assert.doesNotMatch(stderr, /starts cold/);
  }

  test('answers as an ordinary start does: arguments, directory, environment, streams, exit codes, files', async () => {
    assertWarm(await same(['facts', '7', 'a b', '']));
    assertWarm(
      await same(['facts', '0', 'MARK'], { cwd: join(project, 'inner/deep'), env: { MARK: 'other' } }),
    );
    assertWarm(await same(['stdin'], { input: 'typed\nlines\n' }));
    assertWarm(await same(['exits']));
    assertWarm(await same(['much']));
    assertWarm(await same(['write', 'made']));
    for (const kind of ['throw', 'reject']) {
      const { code, stderr } = await call([kind]);
      assert.deepEqual([code, /SyntaxError|TypeError: no/.test(stderr)], [1, true], stderr);
    }
    // A reader that goes away, as `head` does.
    const early = person.start(['sh', '-c', `"$0" much | head -n 1`, executable], {
      cwd: project,
      env: { PATH: path },
    });
    early.child.stdin?.end();
    assert.equal((await early.end()).stdout, 'line 0\n');
  });

  test('ends by signals as an ordinary one does', async () => {
    for (const [signal, code] of [
      ['SIGTERM', 143],
      ['SIGINT', 130],
    ] as const) {
      const running = person.start([executable, 'wait'], { cwd: project, env: { PATH: path } });
      await running.output(/waiting/);
      running.child.kill(signal);
      const ended = await running.end();
      assert.ok(ended.code === code || ended.signal === signal, JSON.stringify(ended));
    }
  });

  test('has the width of the terminal that it is called on', async () => {
    const line = (program: string): string[] => [
      'script',
      '-qec',
      `stty cols 91 rows 30; '${program}' facts`,
      '/dev/null',
    ];
    const [warm, cold] = await Promise.all(
      [executable, join(project, 'node_modules/.bin/tool')].map(
        async (program) =>
          await person.start(line(program), { cwd: project, env: { PATH: path, ...environment } }).end(),
      ),
    );
    assert.match(warm?.stdout ?? '', /"columns":91/);
    assert.equal(warm?.stdout, cold?.stdout);
  });

  test('starts cold for other variables, another node, and outside of its project, and says why when asked', async () => {
    const flavoured = await same(['facts'], { env: { FLAVOUR: 'sweet' } });
    assert.match(flavoured.stderr, /another value of a variable that was read: FLAVOUR/);
    const options = await same(['facts'], { env: { NODE_OPTIONS: '--no-deprecation' } });
    assert.match(options.stderr, /begin with: NODE_/);
    const node = await same(['facts'], { env: { PATH: `${dirname(nodeBinary(20))}:/usr/bin:/bin` } });
    assert.match(node.stderr, /another node comes first/);
    const limited = await same(['facts'], { env: {} });
    assertWarm(limited);
    // npx would look for the tool in a registry.
    const outside = await call(['facts'], { cwd: person.scratch, env: { npm_config_offline: 'true' } });
    assert.match(outside.stderr, /nothing was warmed for this directory/);
  });

  test('never answers from what has changed, and has a new image soon', async () => {
    packageOf('dependency', { 'index.js': DEPENDENCY.replace("'plain'", "'fresh'") });
    const stale = await same(['facts']);
    assert.match(stale.stdout, /"flavour":"fresh"/);
    assert.match(stale.stderr, /changed: .*dependency\/index\.js/);
    await call(['facts'], { env: { FORKPOINT_WARM_REFRESH: '1' } });
    const again = await eventually(
      async () => {
        const answer = await same(['facts']);
        return /starts cold/.test(answer.stderr) ? undefined : answer;
      },
      'a new image',
      60_000,
    );
    assert.match(again.stdout, /"flavour":"fresh"/);
  });

  test('starts cold when its image is damaged, and has lost nothing of its input', async () => {
    const [hash = ''] = readdirSync(join(person.home, 'warm/tool')).filter((name) =>
      /^[0-9a-f]{16}$/.test(name),
    );
    const image = join(person.home, 'warm/tool', hash, '000/image');
    const part = readdirSync(image).find((name) => name.startsWith('core-')) ?? '';
    truncateSync(join(image, part), 10);
    const damaged = await same(['stdin'], { input: 'all of it' });
    assert.match(damaged.stderr, /starts cold: part/);
  });

  test('that answers differently the second time is evaluated from its package on, or stays cold and says why', async () => {
    packageOf('counter', { 'index.js': COUNTER });
    command('outer', STATEFUL.replace('REQUIRED', 'counter'));
    command('own', STATEFUL.replace('REQUIRED', './state.js'));
    packageOf('own', { 'state.js': COUNTER });
    const make = async (name: string): Promise<Finished> =>
      await person.finish(['warm', name, '--runs', '2', '--streams', '000', '--', 'npx', name], {
        cwd: project,
        env: { PATH: path },
      });
    const own = await make('own');
    assert.deepEqual([own.code, /evaluating its package again/.test(own.stderr)], [0, true], own.stderr);
    const outer = await make('outer');
    assert.equal(outer.code, 1);
    assert.match(outer.stderr, /outer stays cold.*stdout, line 1: "3" instead of "1"/);
    const running = person.start([join(person.home, 'warm/bin/outer')], {
      cwd: project,
      env: { PATH: path },
    });
    running.child.stdin?.end();
    assert.equal((await running.end()).stdout, '1\n');
  });

  test('is listed and removed', async () => {
    const list = (await person.json(['warm'])) as { name: string; project: string; images: unknown[] }[];
    assert.deepEqual(list.map(({ name }) => name).sort(), ['outer', 'own', 'tool']);
    const { code } = await person.finish(['warm', 'tool', '--remove']);
    assert.deepEqual([code, readdirSync(join(person.home, 'warm/bin')).sort()], [0, ['outer', 'own']]);
    writeFileSync(join(project, 'package.json'), '{}');
    assert.equal((await person.finish(['warm', 'tool', '--remove'])).code, 1);
  });
});
