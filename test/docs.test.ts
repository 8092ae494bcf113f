import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { processContext, runCommandLine } from '@forkpoint/cli';
import { parseConfig } from '@forkpoint/supervisor';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Page {
  readonly path: string;
  readonly text: string;
}

/** The pages that somebody reads: those at the top, in docs/ and in examples/. CHANGELOG.md tells of the past. */
function readPages(): Page[] {
  return ['.', 'docs', 'examples']
    .filter((directory) => existsSync(join(root, directory)))
    .flatMap((directory) =>
      readdirSync(join(root, directory))
        .filter((name) => name.endsWith('.md') && name !== 'CHANGELOG.md')
        .map((name) => join(directory, name)),
    )
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
}

const pages = readPages();

async function help(words: readonly string[]): Promise<string> {
  let text = '';
  const keep = (more: string): void => void (text += more);
  const cli = { ...processContext(), width: 200, writeOut: keep, writeErr: keep };
  assert.equal(await runCommandLine(cli, [...words, '--help'], '0'), 0, text);
  return text;
}

/** Returns the options that a help text lists, short and long. */
function optionsOf(text: string): Set<string> {
  const options = new Set<string>();
  for (const line of text.split('\n')) {
    const left = /^ {2}(-\S.*?)(?: {2}|$)/.exec(line)?.[1] ?? '';
    for (const [option] of left.matchAll(/--?[a-zA-Z][a-z-]*/g)) options.add(option);
  }
  return options;
}

/** Returns the options of a verb, with those of the verbs below it. */
async function allOptionsOf(verb: string): Promise<Set<string>> {
  const text = await help([verb]);
  const options = optionsOf(text);
  const below = /^Commands:\n((?: {2}.*\n)*)/m.exec(text)?.[1] ?? '';
  for (const [, name = ''] of below.matchAll(/^ {2}([a-z]+) /gm))
    if (name !== 'help') for (const option of optionsOf(await help([verb, name]))) options.add(option);
  return options;
}

/** Returns the command lines of forkpoint: lines behind a prompt, and what stands between backticks. */
function commandsIn({ path, text }: Page): { page: string; words: string[] }[] {
  const isNotYet = /^## Not yet$[\s\S]*?(?=^## )/m;
  const spans = [...text.replace(isNotYet, '').matchAll(/`([^`\n]+)`|^\$ (forkpoint .+)$/gm)];
  return spans
    .map((match) => /^(?:\S+=\S+ )?(?:bin\/)?forkpoint (.+)$/.exec(match[1] ?? match[2] ?? '')?.[1])
    .filter((line) => line !== undefined)
    .map((line) => ({ page: path, words: line.split(/ -- |[|;&]/)[0]?.split(/\s+/) ?? [] }));
}

test('every relative link leads somewhere', () => {
  for (const { path, text } of pages) {
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target) || target.startsWith('#')) continue;
      const file = join(root, dirname(path), target.replace(/#.*$/, ''));
      assert.ok(existsSync(file), `${path} links to ${target}`);
    }
  }
});

test('every verb and option of forkpoint in the pages exists', async () => {
  const overview = await help([]);
  const verbs = new Map<string, Set<string>>();
  for (const [, verb = ''] of overview.matchAll(/^ {2}([a-z][a-z-]*) /gm)) {
    if (verb !== 'help' && verb !== 'forkpoint') verbs.set(verb, await allOptionsOf(verb));
  }
  const commands = pages.flatMap(commandsIn).filter(({ words }) => /^[a-z][a-z-]*$/.test(words[0] ?? ''));
  assert.ok(commands.length > 30, 'the pages have another form than this test reads');
  for (const { page, words } of commands) {
    const [verb = '', ...rest] = words;
    const options = verbs.get(verb);
    assert.ok(options !== undefined || verb === 'help', `${page}: there is no \`forkpoint ${verb}\``);
    for (const word of rest.filter((candidate) => candidate.startsWith('-'))) {
      const option = /^--?[a-zA-Z-]+/.exec(word)?.[0] ?? word;
      assert.ok(options?.has(option) ?? true, `${page}: \`forkpoint ${verb}\` has no option ${option}`);
    }
  }
});

test('every option that stands alone in the pages belongs to some verb, or to another program that is named', async () => {
  const all = new Set<string>();
  for (const [, verb = ''] of (await help([])).matchAll(/^ {2}([a-z][a-z-]*) /gm)) {
    if (verb !== 'help' && verb !== 'forkpoint')
      for (const option of await allOptionsOf(verb)) all.add(option);
  }
  const foreign = new Set([
    '--security-opt',
    '--privileged',
    '--user',
    '--cap-drop',
    '--no-sandbox',
    '--inherit-fd',
  ]);
  for (const { path, text } of pages) {
    for (const [, option = ''] of text.matchAll(/`(--[a-z][a-z-]*)(?:[ =][^`]*)?`/g)) {
      assert.ok(all.has(option) || foreign.has(option), `${path}: no verb has the option ${option}`);
    }
  }
});

test('the settings of serve that the pages show are settings, and its unit starts it with options that exist', async () => {
  const { text = '' } = pages.find(({ path }) => path === join('docs', 'serve.md')) ?? {};
  const [, example = ''] = /^```ts\n([\s\S]*?)^```$/m.exec(text) ?? [];
  const script = stripTypeScriptTypes(example, { mode: 'transform' });
  const module: unknown = await import(`data:text/javascript,${encodeURIComponent(script)}`);
  const { settings } = parseConfig(module, 'forkpoint.config.ts');
  assert.deepEqual([settings.workers, settings.memoryLimit], [4, 300e6]);
  const unit = readFileSync(join(root, 'examples/forkpoint-serve.service'), 'utf8');
  const [, line = ''] = /^ExecStart=\S*forkpoint serve (.*) -- /m.exec(unit) ?? [];
  const options = await allOptionsOf('serve');
  const given = line.split(' ').filter((word) => word.startsWith('-'));
  assert.ok(given.length > 1 && given.every((option) => options.has(option)), line);
});

test('every npm script in the pages exists', () => {
  const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.ok(typeof manifest === 'object' && manifest !== null && 'scripts' in manifest);
  const scripts = new Set(Object.keys(manifest.scripts ?? {}));
  for (const { path, text } of pages) {
    for (const [whole, run, plain] of text.matchAll(/npm run ([a-z][a-z:-]*)|npm (start|test)\b/g)) {
      assert.ok(scripts.has(run ?? plain ?? ''), `${path}: ${whole}`);
    }
  }
});
