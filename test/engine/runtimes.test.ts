import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { createPerson, fetchText, nodeBinary, testCommand } from '@forkpoint/testkit';
import type { NodeMajor, Person } from '@forkpoint/testkit';
import { parse, portOf, restoreAnywhere } from './helpers.ts';
import type { Started } from './helpers.ts';

/** What the server answers. */
interface Told {
  readonly hits: number;
  readonly version: string;
  readonly own: string[];
  readonly uuid: string;
  readonly limit: number;
  readonly options: string;
}

interface Manifest {
  readonly runtime: { readonly version: string };
  readonly slots: readonly { readonly id: string; readonly kind: string }[];
}

const BODY = `
let hits = 0;
const server = createServer((request, response) => response.end(JSON.stringify({ hits: ++hits, version: process.version,
  own: globalThis.own ?? [], uuid: randomUUID(), limit: getHeapStatistics().heap_size_limit, options: process.env.NODE_OPTIONS })));
server.listen(0, '127.0.0.1', () => console.log('listening on http://127.0.0.1:' + server.address().port));
`;
const IMPORTS = `import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { getHeapStatistics } from 'node:v8';
`;
const REQUIRES = IMPORTS.replaceAll(/import (.*) from ('.*');/g, 'const $1 = require($2);');
/** Types that can be erased, and one that only a compiler can turn into JavaScript. */
const ERASABLE = `const typed: readonly string[] = ['own' as const];\n`;
const COMPILED = `enum Kind { Server = 1 }\n if (Kind.Server !== 1) throw new Error('not compiled');\n`;

const FILES: Readonly<Record<string, string>> = {
  'server.cjs': REQUIRES + BODY,
  'server.mjs': `${IMPORTS}await Promise.resolve();\n${BODY}`,
  'server.ts': IMPORTS + ERASABLE + BODY,
  'compiled.ts': IMPORTS + ERASABLE + COMPILED + BODY,
  'own.cjs': `(globalThis.own ??= []).push('required');`,
  'own.mjs': `(globalThis.own ??= []).push('imported');`,
  'package.json': JSON.stringify({ name: 'app', version: '1.0.0', scripts: { start: 'node server.cjs' } }),
  'node_modules/tool/cli.js': `#!/usr/bin/env node\n${REQUIRES}${BODY}`,
  'node_modules/tool/package.json': JSON.stringify({ name: 'tool', version: '1.0.0', bin: 'cli.js' }),
};

/** A way to start the server. */
interface Way {
  readonly name: string;
  /** `NODE` stands for the Node under test. */
  readonly command: readonly string[];
  readonly options?: string;
  /** Node versions that have it; all without. */
  readonly since?: NodeMajor;
  readonly check?: (told: Told) => void;
}

/** What `--import tsx` means in a project that has tsx. */
const TSX_LOADER = pathToFileURL(join(dirname(testCommand('tsx')), '../tsx/dist/loader.mjs')).href;
const both = (told: Told): void => assert.deepEqual(told.own.sort(), ['imported', 'required']);
const WAYS: readonly Way[] = [
  { name: 'a CommonJS program', command: ['NODE', 'server.cjs'] },
  { name: 'an ES module that awaits before it starts', command: ['NODE', 'server.mjs'] },
  { name: 'TypeScript whose types Node strips', command: ['NODE', 'server.ts'], since: 22 },
  { name: 'TypeScript that tsx compiles', command: [testCommand('tsx'), 'compiled.ts'] },
  {
    name: 'TypeScript that the loader of tsx compiles',
    command: ['NODE', '--import', TSX_LOADER, 'compiled.ts'],
  },
  {
    name: "a program with --import and --require of the user's own",
    command: ['NODE', '--require', './own.cjs', '--import', './own.mjs', 'server.cjs'],
    check: both,
  },
  {
    name: "a program with NODE_OPTIONS of the user's own",
    command: ['NODE', 'server.mjs'],
    options: '--max-old-space-size=333 --require ./own.cjs --import=./own.mjs',
    check: (told) => {
      both(told);
      // What young objects take comes on top; without the option it would be gigabytes.
      assert.ok(told.limit < 700 << 20, `a heap of ${told.limit} bytes`);
      assert.match(told.options, /^--max-old-space-size=333 --require \.\/own\.cjs --import=\.\/own\.mjs /);
    },
  },
  { name: 'an npm script', command: ['npm', 'start'] },
  { name: "a package's command", command: ['node_modules/.bin/tool'] },
];

function writeApp(person: Person): void {
  mkdirSync(join(person.scratch, 'node_modules/tool'), { recursive: true });
  mkdirSync(join(person.scratch, 'node_modules/.bin'));
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(person.scratch, name), text);
  chmodSync(join(person.scratch, 'node_modules/tool/cli.js'), 0o755);
  symlinkSync('../tool/cli.js', join(person.scratch, 'node_modules/.bin/tool'));
  // npm keeps its logs in the home directory and wants files of its user.
  for (const name of ['node_modules', 'package.json'])
    chownSync(join(person.scratch, name), person.uid, person.uid);
}

async function tell(port: number): Promise<Told> {
  return parse<Told>(await fetchText(port));
}

for (const major of [20, 22, 24, 26] as const) {
  const node = nodeBinary(major);
  describe(`on Node ${major}`, { concurrency: 2 }, () => {
    let person: Person;
    before(() => {
      person = createPerson();
      writeApp(person);
    });
    after(async () => await person.leave());

    for (const way of WAYS.filter(({ since }) => since === undefined || since <= major)) {
      test(`${way.name} is checkpointed and restored`, async () => {
        const command = way.command.map((word) => (word === 'NODE' ? node : word));
        const env = {
          PATH: `${dirname(node)}:${process.env['PATH']}`,
          npm_config_update_notifier: 'false',
          NODE_OPTIONS: way.options,
        };
        const run = (await person.json(['run', '-d', '--', ...command], { env })) as Started;
        const first = await tell(await portOf(person, run.id));
        assert.equal(Number(/^v(\d+)\./.exec(first.version)?.[1]), major);
        way.check?.(first);
        const image = join(person.scratch, `image-${WAYS.indexOf(way)}`);
        await person.json(['checkpoint', run.id, image]);
        const manifest = parse<Manifest>(readFileSync(join(image, 'manifest.json'), 'utf8'));
        // tsx talks to its child through a socket in the temporary directory, which the original still holds.
        const others = manifest.slots.filter(({ kind }) => kind === 'unix');
        const flags = others.flatMap(({ id }) => ['--listen', `${id}=${join(person.scratch, `${id}.sock`)}`]);
        const clone = await restoreAnywhere(person, image, { flags });
        const again = await tell(clone.port);
        assert.equal(again.hits, 2);
        assert.notEqual(again.uuid, (await tell(await portOf(person, run.id))).uuid);
        way.check?.(again);
        assert.equal(manifest.runtime.version, first.version);
      });
    }
  });
}
