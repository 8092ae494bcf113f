import { Command, CommanderError } from 'commander';
import { addCheckClones } from './commands/check-clones.ts';
import { addCheckpoint, withCodec } from './commands/checkpoint.ts';
import { addCompletion } from './commands/completion.ts';
import { addCompress } from './commands/compress.ts';
import { addDiff } from './commands/diff.ts';
import { addDoctor } from './commands/doctor.ts';
import { addDu } from './commands/du.ts';
import { addGc } from './commands/gc.ts';
import { addFork } from './commands/fork.ts';
import { addFlatten } from './commands/flatten.ts';
import { addInspect } from './commands/inspect.ts';
import { addKill } from './commands/kill.ts';
import { addLogs } from './commands/logs.ts';
import { addLs } from './commands/ls.ts';
import { addPs } from './commands/ps.ts';
import { addRestore } from './commands/restore.ts';
import type { Handover } from './commands/restore.ts';
import { addRm } from './commands/rm.ts';
import { addRun } from './commands/run.ts';
import { addServe } from './commands/serve.ts';
import { addSetup } from './commands/setup.ts';
import { addTest } from './commands/test.ts';
import { addTrain } from './commands/train.ts';
import { addTree } from './commands/tree.ts';
import { addVerify } from './commands/verify.ts';
import { addWarm } from './commands/warm.ts';
import { addVitest } from './commands/vitest.ts';
import { addWait } from './commands/wait.ts';
import { complete } from './completion/candidates.ts';
import { COMPLETE_VERB, completionLines } from './completion/scripts.ts';
import type { Cli } from './context.ts';
import { CliError, EXIT, usageError } from './error.ts';
import { describeDefault } from './options.ts';
import { TOPICS, topicList } from './topics.ts';
import { printError } from './ui/errors.ts';

/** Takes the exit code of a command. */
export type Finish = (exitCode: number) => void;

/** Verbs whose failures before the program runs have exit codes of their own. */
const STARTERS = new Set(['run', 'restore', 'restore-explain']);

/** Runs one command line, the words behind `forkpoint`, and returns the exit code. Prints errors itself. */
export async function runCommandLine(cli: Cli, words: readonly string[], version: string): Promise<number> {
  let exitCode: number = EXIT.done;
  let complaint = '';
  const isHandover = words[0] === 'restore-explain';
  // `restore-explain REASON DETAIL -- ARG...` is how the launcher hands a restore over.
  const handover: Handover | undefined = isHandover
    ? { reason: words[1] ?? '', detail: words[2] ?? '', runs: cli.places.runs, args: words.slice(4) }
    : undefined;
  const program = build(cli, { version, handover, finish: (code) => (exitCode = code) });
  program.configureOutput({
    writeOut: (text) => cli.writeOut(text),
    writeErr: (text) => cli.writeErr(text),
    outputError: (text) => (complaint += text),
  });
  inherit(program);
  try {
    if (words[0] === COMPLETE_VERB) {
      cli.writeOut(completionLines(await complete(cli, program, words.slice(1))));
      return EXIT.done;
    }
    const topic = TOPICS.find(({ name }) => words[0] === 'help' && name === words[1]);
    // `restore` is a verb too: its help ends with the topic's text.
    if (topic !== undefined && !program.commands.some((command) => command.name() === topic.name)) {
      cli.writeOut(`${topic.text}\n`);
      return EXIT.done;
    }
    await program.parseAsync(
      handover === undefined ? wordsFor(program, words) : ['restore', ...handover.args],
      {
        from: 'user',
      },
    );
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    // Without a command commander has printed the whole help to stderr already.
    if (error instanceof CommanderError && error.code === 'commander.help') return EXIT.usage;
    if (error instanceof CommanderError) {
      const verb = program.commands
        .find((command) => command.name() === (isHandover ? 'restore' : words[0]))
        ?.name();
      return printError(cli, usageOf(error, complaint, verb));
    }
    const code = printError(cli, error);
    const isOurs = code === EXIT.user || code === EXIT.engine;
    return isOurs && STARTERS.has(words[0] ?? '') ? EXIT.ours : code;
  }
}

/** Verbs, and those below them, speak as the program does. */
function inherit(command: Command): void {
  for (const option of command.options) describeDefault(option);
  for (const below of command.commands) inherit(below.copyInheritedSettings(command));
}

/** `help VERB` is asked as `VERB --help`, and as `VERB` when there is no such verb, which is then told like every other. */
function wordsFor(program: Command, words: readonly string[]): string[] {
  const [first, verb, ...rest] = words;
  if (first !== 'help' || verb === undefined || verb.startsWith('-')) return withCodec(words);
  return program.commands.some((command) => command.name() === verb) ? [verb, '--help', ...rest] : [verb];
}

function build(
  cli: Cli,
  given: { version: string; handover: Handover | undefined; finish: Finish },
): Command {
  const { version, handover, finish } = given;
  const program = new Command('forkpoint')
    .description('Checkpoints, restores and forks warm programs: no root, no patched runtime, no daemon.')
    .usage('<command> [options]')
    .version(version, '-V, --version', 'print the version')
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint run --name server -- node server.js\n  forkpoint checkpoint server ./warm\n  forkpoint restore ./warm\n' +
        `\n${topicList()}`,
    );
  addRun(program, cli, finish);
  addCheckpoint(program, cli, finish);
  addRestore(program, cli, finish, handover);
  addFork(program, cli, finish);
  addServe(program, cli, finish);
  addPs(program, cli, finish);
  addLogs(program, cli, finish);
  addKill(program, cli, finish);
  addWait(program, cli, finish);
  addLs(program, cli, finish);
  addTree(program, cli, finish);
  addInspect(program, cli, finish);
  addDiff(program, cli, finish);
  addDu(program, cli, finish);
  addCompress(program, cli, finish);
  addVerify(program, cli, finish);
  addRm(program, cli, finish);
  addGc(program, cli, finish);
  addFlatten(program, cli, finish);
  addTrain(program, cli, finish);
  addCheckClones(program, cli, finish);
  addWarm(program, cli, finish);
  addTest(program, cli, finish);
  addVitest(program, cli, finish);
  addSetup(program, cli, finish);
  addDoctor(program, cli, finish);
  addCompletion(program, cli, finish);
  return program;
}

/** Turns commander's complaint into an error in this command line's own form. */
function usageOf(error: CommanderError, complaint: string, verb: string | undefined): CliError {
  const [first = '', ...rest] = complaint.trim().split('\n');
  const guess = /^\(Did you mean (?:one of )?(.*)\?\)$/.exec(rest.join(' ').trim())?.[1];
  const hint =
    guess === undefined
      ? undefined
      : `Did you mean ${guess
          .split(', ')
          .map((word) => `\`${word}\``)
          .join(', ')}?`;
  const message = first
    .replace(/^error: /, '')
    .replaceAll(/'([^']*)'/g, '`$1`')
    .replace(/\.$/, '');
  return usageError(
    message === '' ? error.message : message,
    hint ?? `Run \`forkpoint ${verb === undefined ? 'help' : `${verb} --help`}\``,
  );
}
