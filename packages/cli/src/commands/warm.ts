import type { Command } from 'commander';
import { existsSync, realpathSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from '@forkpoint/engine';
import { checkName, ensureHome } from '@forkpoint/store';
import {
  encodeCommandPlan,
  findCommand,
  projectDirectory,
  WarmError,
  warmPlaces,
} from '@forkpoint/supervisor/warm';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { CliError, usageError } from '../error.ts';
import { countOf } from '../options.ts';
import { checkSetup } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import { durationText } from '../ui/format.ts';
import { withProgress } from '../ui/progress.ts';
import { makeImage } from '../warm/make.ts';
import type { Made } from '../warm/make.ts';

interface Options {
  readonly runs: number;
  readonly streams: readonly string[];
  readonly remove?: boolean;
  readonly refresh?: boolean;
  readonly json?: boolean;
}

/** What is kept of a project, to make its images again. */
interface Project {
  readonly project: string;
  readonly line: readonly string[];
  readonly runs: number;
}

interface Warmed extends Partial<Made> {
  readonly variant: string;
  readonly reason?: string;
}

const RUNS = 12;
/** Streams that are no terminals, as in scripts and pipelines, and those of a person at a terminal. */
const VARIANTS = ['000', '111'];

/** Adds `forkpoint warm`. */
export function addWarm(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('warm')
    .summary('have a Node.js command line start from a warmed image')
    .description(
      'Runs WARMUP in copies of the project until its code is compiled, keeps an image of the process, and puts an executable NAME ' +
        'into the directory that it prints: on PATH in front of the others, or in the scripts of package.json, it starts from the image.\n\n' +
        'An image answers only in its project, and only when everything that it was made from is as it was: the tool and its packages, ' +
        'node, the variables that were read. Anything else starts the command as usual, and makes a new image in the background.\n\n' +
        'Without NAME it lists what is warmed.',
    )
    .argument('[name]', 'what the executable is called')
    .argument('[warmup...]', 'a command line that does what is typical, such as `npx eslint .`')
    .option('--runs <n>', 'how often WARMUP runs before the image is taken', countOf, RUNS)
    .option(
      '--streams <kinds>',
      'which of stdin, stdout and stderr are terminals, for each image (default: 000,111)',
      streamsOf,
      VARIANTS,
    )
    .option('--refresh', 'make the images of this project again')
    .option('--remove', 'remove the executable and its images')
    .option('--json', 'print what was made, or the list, as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint warm eslint -- npx eslint .\n  forkpoint warm prettier -- npx prettier --check src',
    )
    .action(async (name: string | undefined, line: string[], options: Options) => {
      if (name === undefined) finish(await list(cli, options));
      else if (options.remove === true) finish(await remove(cli, name, options));
      else finish(await warm(cli, name, line, options));
    });
  program
    .command('warm-refresh', { hidden: true })
    .argument('<name>')
    .argument('<project>')
    .argument('<variant>')
    .action(async (name: string, project: string, variant: string) => {
      finish(await refresh(cli, name, project, variant));
    });
}

async function warm(cli: Cli, name: string, given: readonly string[], options: Options): Promise<number> {
  checkName(name);
  if (name === 'bin') throw usageError('the name `bin` is taken');
  const files = packageFiles(cli.lib, cli.places.home);
  await checkSetup(cli, files);
  await ensureHome(cli.places);
  const places = warmPlaces(cli.places.home);
  const project = realpathSync(cli.cwd);
  const directory = projectDirectory(places, name, project);
  const known = options.refresh === true && given.length === 0 ? await readProject(directory) : undefined;
  if (known === undefined && given.length === 0)
    throw usageError('no command to warm up with was given', `forkpoint warm ${name} -- npx ${name} .`);
  const facts: Project = known ?? { project, line: given, runs: options.runs };
  const command = translate(() => findCommand(facts.line, project, cli.env));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeWhole(join(directory, 'project.json'), JSON.stringify(facts));
  await install(cli, name, command.words);
  const results: Warmed[] = [];
  for (const variant of options.streams) results.push(await one(cli, name, facts, variant));
  const executable = join(places.bin, name);
  if (options.json === true) {
    cli.writeOut(`${JSON.stringify({ name, project, executable, images: results })}\n`);
  } else {
    for (const { variant, reason, coldMs, warmMs, level } of results) {
      const streams = variant === '000' ? 'without a terminal' : 'on a terminal';
      if (reason !== undefined) cli.writeErr(`${cli.paintErr('warning', 'Cold')} ${streams}: ${reason}.\n`);
      else
        cli.writeErr(
          `${cli.paintErr('success', 'Warmed')} ${streams}: ${durationText(warmMs ?? 0)} instead of ${durationText(coldMs ?? 0)}` +
            `${level === 'package' ? ', evaluating its package again' : ''}.\n`,
        );
    }
    cli.writeOut(`${executable}\n`);
  }
  return results.some(({ reason }) => reason === undefined) ? 0 : 1;
}

/** Makes the image for one kind of streams; a refusal is noted, so that it is not tried at every call. */
async function one(
  cli: Cli,
  name: string,
  { project, line, runs }: Project,
  variant: string,
): Promise<Warmed> {
  const directory = projectDirectory(warmPlaces(cli.places.home), name, project);
  const refused = join(directory, `cold-${variant}`);
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new CliError('interrupted'));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    return await withLock(join(directory, `lock-${variant}`), { signal: abort.signal }, async () => {
      const command = findCommand(line, project, cli.env);
      const made = await withProgress(
        cli,
        `Warming ${name}`,
        async () =>
          await makeImage(cli, {
            name,
            project,
            command,
            variant,
            runs,
            directory: join(directory, variant),
            signal: abort.signal,
          }),
      );
      await rm(refused, { force: true });
      return { variant, ...made };
    });
  } catch (error) {
    if (!(error instanceof WarmError)) throw error;
    await rm(join(directory, variant), { recursive: true, force: true });
    await writeWhole(refused, error.message);
    return { variant, reason: error.message };
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}

function streamsOf(text: string): string[] {
  const kinds = text.split(',');
  if (kinds.every((kind) => /^[01]{3}$/.test(kind))) return kinds;
  throw usageError(`\`${text}\` does not tell which streams are terminals`, 'Such as --streams 000,111');
}

/** What the launcher starts in the background when an image no longer fits. */
async function refresh(cli: Cli, name: string, project: string, variant: string): Promise<number> {
  checkName(name);
  if (!/^[01]{3}$/.test(variant)) throw usageError(`there is no kind of streams ${variant}`);
  const directory = projectDirectory(warmPlaces(cli.places.home), name, project);
  const lock = join(directory, `lock-${variant}`);
  // Whoever makes one already makes it of what lies here now, or fails and is asked again.
  if (existsSync(lock)) return 0;
  const { reason } = await one(cli, name, await readProject(directory), variant);
  return reason === undefined ? 0 : 1;
}

async function install(cli: Cli, name: string, words: readonly string[]): Promise<void> {
  const places = warmPlaces(cli.places.home);
  await mkdir(places.bin, { recursive: true, mode: 0o700 });
  const maker = [
    '/usr/bin/env',
    `FORKPOINT_HOME=${cli.places.home}`,
    `FORKPOINT_LIB=${cli.lib}`,
    process.execPath,
    join(cli.lib, 'dist', 'cli.cjs'),
    'warm-refresh',
  ];
  await writeWhole(join(places.root, name, 'command'), encodeCommandPlan(words, maker));
  const { launcher } = packageFiles(cli.lib, cli.places.home);
  const script = [
    '#!/bin/sh',
    `# ${name}, warmed by forkpoint; \`forkpoint warm ${name} --remove\` takes it away.`,
    `[ -x ${quoted(launcher)} ] && exec ${quoted(launcher)} warm ${quoted(cli.places.home)} ${quoted(name)} "$@"`,
    `exec ${words.map(quoted).join(' ')} "$@"`,
    '',
  ].join('\n');
  await writeWhole(join(places.bin, name), script);
  await chmod(join(places.bin, name), 0o755);
}

async function remove(cli: Cli, name: string, options: Options): Promise<number> {
  const places = warmPlaces(cli.places.home);
  const directory = join(places.root, checkName(name));
  if (!existsSync(directory))
    throw new CliError(`no command called \`${name}\` is warmed`, {
      hint: 'Run `forkpoint warm` for a list',
    });
  await rm(join(places.bin, name), { force: true });
  await rm(directory, { recursive: true, force: true });
  if (options.json === true) cli.writeOut(`${JSON.stringify({ name, removed: true })}\n`);
  else cli.writeErr(`${cli.paintErr('success', 'Removed')} ${name}.\n`);
  return 0;
}

async function list(cli: Cli, options: Options): Promise<number> {
  const places = warmPlaces(cli.places.home);
  const rows: { name: string; project: string; line: readonly string[]; images: Warmed[] }[] = [];
  for (const name of existsSync(places.root) ? (await readdir(places.root)).sort() : []) {
    if (name === 'bin' || name.startsWith('.')) continue;
    for (const hash of (await readdir(join(places.root, name))).filter((entry) =>
      /^[0-9a-f]{16}$/.test(entry),
    )) {
      const directory = join(places.root, name, hash);
      const { project, line } = await readProject(directory);
      rows.push({ name, project, line, images: await imagesOf(directory) });
    }
  }
  if (options.json === true) {
    cli.writeOut(`${JSON.stringify(rows)}\n`);
    return 0;
  }
  for (const { name, project, line, images } of rows) {
    const text = images.map(({ variant, reason }) =>
      reason === undefined ? variant : `${variant} cold: ${reason}`,
    );
    cli.writeOut(`${name}\t${project}\t${line.join(' ')}\t${text.join(', ')}\n`);
  }
  return 0;
}

async function imagesOf(directory: string): Promise<Warmed[]> {
  const images: Warmed[] = [];
  for (const entry of (await readdir(directory)).sort()) {
    if (/^[01]{3}$/.test(entry)) images.push({ variant: entry });
    const variant = /^cold-([01]{3})$/.exec(entry)?.[1];
    if (variant !== undefined)
      images.push({ variant, reason: await readFile(join(directory, entry), 'utf8') });
  }
  return images;
}

async function readProject(directory: string): Promise<Project> {
  try {
    // Written by this package, below a directory of the user's own.
    return JSON.parse(await readFile(join(directory, 'project.json'), 'utf8')) as Project;
  } catch {
    throw new CliError(`nothing is warmed for this project in ${directory}`, {
      hint: 'Run `forkpoint warm NAME -- COMMAND` in the project',
    });
  }
}

function translate<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof WarmError)) throw error;
    throw new CliError(error.message, { code: error.code, hint: error.hint });
  }
}

async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const draft = `${path}.${process.pid}.new`;
  await writeFile(draft, content, { mode: 0o600 });
  await rename(draft, path);
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
