import { readdir } from 'node:fs/promises';
import type { Command, Option } from 'commander';
import { listRuns, readManifest, resolveImage } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import { TOPICS } from '../topics.ts';

/** A word that a shell may put where the cursor stands. */
export interface Candidate {
  readonly value: string;
  readonly description: string;
}

/** What a shell offers besides the candidates: files, directories, commands, or nothing. */
export type Directive = 'files' | 'dirs' | 'commands' | 'nothing';

/** The answer to one press of the tabulator. */
export interface Completion {
  readonly candidates: readonly Candidate[];
  readonly directive: Directive;
}

/** What a value is: the names that stand in the help between < and >, or [ and ]. */
type Kind =
  | 'run'
  | 'image'
  | 'image-or-run'
  | 'images'
  | 'other-image'
  | 'dest'
  | 'slot=address'
  | 'dir'
  | 'shell'
  | 'signal'
  | 'topic'
  | 'command'
  | 'args'
  | '';

const KINDS: ReadonlySet<string> = new Set([
  'run',
  'image',
  'image-or-run',
  'images',
  'other-image',
  'dest',
  'slot=address',
  'dir',
  'shell',
  'signal',
  'topic',
  'command',
  'args',
]);
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGKILL', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];
const NOTHING: Completion = { candidates: [], directive: 'nothing' };

/**
 * Returns what may stand at the last of `words`, which are those behind `forkpoint` up to the cursor. Verbs, options and
 * the meaning of values come from `program` itself; runs, images and slots from the data directory.
 */
export async function complete(cli: Cli, program: Command, words: readonly string[]): Promise<Completion> {
  const current = words.at(-1) ?? '';
  const [verb = ''] = words;
  if (words.length < 2) return startingWith(current, verbs(program));
  if (verb === 'help') return startingWith(current, [...verbs(program), ...topics()]);
  const command = program.commands.find((one) => one.name() === verb);
  if (command === undefined) return NOTHING;
  const place = placeOf(command, words.slice(1));
  if (place.option !== undefined) {
    const kind = kindOf(/[<[]([^>\]]*)/.exec(place.option.flags)?.[1] ?? '');
    return await valuesOf(cli, kind, {
      prefix: place.prefix,
      current: place.value,
      positional: place.positional,
    });
  }
  if (current.startsWith('-') && !place.isBehindDashes) return startingWith(current, options(command));
  return await valuesOf(cli, positionalKind(command, place.positional.length), {
    prefix: '',
    current,
    positional: place.positional,
  });
}

/** Where the cursor stands within a command. */
interface Place {
  /** The option whose value the cursor is in. */
  readonly option: Option | undefined;
  /** `--option=` when the value stands in the same word. */
  readonly prefix: string;
  readonly value: string;
  /** The arguments before the cursor. */
  readonly positional: readonly string[];
  readonly isBehindDashes: boolean;
}

function placeOf(command: Command, words: readonly string[]): Place {
  const positional: string[] = [];
  let waiting: Option | undefined;
  let isBehindDashes = false;
  for (const word of words.slice(0, -1)) {
    if (waiting !== undefined) waiting = undefined;
    else if (isBehindDashes || !word.startsWith('-') || word === '-') positional.push(word);
    else if (word === '--') isBehindDashes = true;
    else waiting = word.includes('=') ? undefined : optionOf(command, word);
    // What follows the program of `run` belongs to that program.
    if (command.name() === 'run' && positional.length > 0) isBehindDashes = true;
  }
  const current = words.at(-1) ?? '';
  const equals = /^(--[^=]+=)(.*)$/s.exec(current);
  if (waiting === undefined && equals !== null && !isBehindDashes) {
    const option = optionOf(command, (equals[1] ?? '').slice(0, -1));
    return { option, prefix: equals[1] ?? '', value: equals[2] ?? '', positional, isBehindDashes };
  }
  return { option: waiting, prefix: '', value: current, positional, isBehindDashes };
}

/** Returns the option of this spelling when it takes a value. */
function optionOf(command: Command, word: string): Option | undefined {
  return command.options.find(
    (option) => (option.long === word || option.short === word) && (option.required || option.optional),
  );
}

function positionalKind(command: Command, index: number): Kind {
  const names = command.registeredArguments.map((argument) => argument.name());
  const last = command.registeredArguments.at(-1);
  return kindOf(names[index] ?? (last?.variadic === true ? last.name() : ''));
}

function kindOf(name: string): Kind {
  // The set holds exactly the names of the type.
  return KINDS.has(name) ? (name as Kind) : '';
}

async function valuesOf(
  cli: Cli,
  kind: Kind,
  at: { prefix: string; current: string; positional: readonly string[] },
): Promise<Completion> {
  const { candidates, directive } = await candidatesOf(cli, kind, at.positional);
  const fitting = startingWith(at.current, candidates, directive);
  return {
    ...fitting,
    candidates: fitting.candidates.map((one) => ({ ...one, value: at.prefix + one.value })),
  };
}

async function candidatesOf(cli: Cli, kind: Kind, positional: readonly string[]): Promise<Completion> {
  if (kind === 'run') return only(await runs(cli));
  if (kind === 'image-or-run')
    return { candidates: [...(await images(cli)), ...(await runs(cli))], directive: 'dirs' };
  if (kind === 'image' || kind === 'other-image' || kind === 'images' || kind === 'dest')
    return { candidates: await images(cli), directive: 'dirs' };
  if (kind === 'slot=address') return only(await slots(cli, positional[0]));
  if (kind === 'shell') return only(['bash', 'zsh', 'fish'].map(plain));
  if (kind === 'signal') return only(SIGNALS.map(plain));
  if (kind === 'topic') return only(topics());
  if (kind === 'dir') return { candidates: [], directive: 'dirs' };
  if (kind === 'command') return { candidates: [], directive: 'commands' };
  return kind === 'args' ? { candidates: [], directive: 'files' } : NOTHING;
}

async function runs(cli: Cli): Promise<Candidate[]> {
  const living = (await listRuns(cli.places.runs)).filter((run) => run.isAlive);
  return living.map((run) => ({ value: run.name, description: run.command.join(' ') }));
}

async function images(cli: Cli): Promise<Candidate[]> {
  try {
    const entries = await readdir(cli.places.images, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map(({ name }) => ({ value: name, description: 'image' }));
  } catch {
    // There is no data directory yet, and nobody wants an error message while typing.
    return [];
  }
}

async function slots(cli: Cli, image: string | undefined): Promise<Candidate[]> {
  if (image === undefined) return [];
  try {
    const manifest = await readManifest(resolveImage(image, cli.cwd, cli.places.images));
    return manifest.slots
      .filter((slot) => slot.kind === 'tcp' || slot.kind === 'unix')
      .map((slot) => ({
        value: `${slot.id}=`,
        description: slot.kind === 'tcp' ? `${slot.address}:${slot.port}` : slot.path,
      }));
  } catch {
    // What was typed is no image.
    return [];
  }
}

function verbs(program: Command): Candidate[] {
  return program
    .createHelp()
    .visibleCommands(program)
    .map((one) => ({ value: one.name(), description: one.summary() || one.description() }));
}

function topics(): Candidate[] {
  return TOPICS.map(({ name, summary }) => ({ value: name, description: summary }));
}

function options(command: Command): Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .flatMap((option) =>
      [option.long, option.short]
        .filter((word) => word !== undefined)
        .map((value) => ({ value, description: option.description })),
    );
}

function plain(value: string): Candidate {
  return { value, description: '' };
}

function only(candidates: readonly Candidate[]): Completion {
  return { candidates, directive: 'nothing' };
}

function startingWith(
  current: string,
  candidates: readonly Candidate[],
  directive: Directive = 'nothing',
): Completion {
  return { candidates: candidates.filter(({ value }) => value.startsWith(current)), directive };
}
