import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { launch } from '../launch.ts';
import { collectPairs } from '../options.ts';
import { adaptRequest, prepareRun } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import type { RestoreWish } from '../runtimes/adapt.ts';
import { resolve } from 'node:path';

interface Options {
  readonly name?: string;
  readonly detach?: boolean;
  readonly to?: string;
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly fdPolicy?: string;
  readonly traceResources?: boolean;
  readonly preload: boolean;
  readonly json?: boolean;
}

/** Adds `forkpoint run`. */
export function addRun(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('run')
    .summary('run a program so that it can be checkpointed')
    .description(
      'Runs a program in a pod of its own, in which it can be checkpointed.\n\n' +
        'The program keeps its user, its files and its network; Node.js programs need no change. In the foreground the ' +
        "command ends with the program's exit code.",
    )
    .argument('<command>', 'the program; write -- before it')
    .argument('[args...]', 'its arguments')
    .option('--name <name>', 'name of the run (default: made from the command)')
    .option('-d, --detach', 'leave the program in the background and print the id of the run')
    .option('--to <dest>', 'where checkpoints go that name no destination')
    .option('--env <name=value>', 'set a variable of the environment (repeatable)', collectPairs)
    .option('--cwd <dir>', 'start the program in this directory')
    .option(
      '--fd-policy <file>',
      'rules for descriptors (default: forkpoint.config.json, see docs/fd-policies.md)',
    )
    .option('--trace-resources', 'have reports tell where the program opened what stands in the way')
    .option('--no-preload', 'preload neither the library nor the shim')
    .option('--json', 'with --detach: print the run as JSON')
    .passThroughOptions()
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint run -- node server.js\n  forkpoint run --name shop -d --to images/shop-%g -- node server.js',
    )
    .action(async (command: string, args: string[], options: Options) => {
      finish(await run(cli, [command, ...args], options));
    });
}

async function run(cli: Cli, command: readonly string[], options: Options): Promise<number> {
  const cwd = resolve(cli.cwd, options.cwd ?? '.');
  const wish = adaptRequest(cli, { command, env: options.env, isPreloaded: options.preload }, cwd).adapted
    .restore;
  if (wish !== undefined) return await restoreInstead(cli, wish, options);
  const plan = await prepareRun(cli, {
    command,
    name: options.name,
    to: options.to === undefined ? undefined : { dest: options.to, cwd: cli.cwd },
    env: options.env,
    cwd: options.cwd,
    fdPolicy: options.fdPolicy,
    isTraced: options.traceResources === true,
    isDetached: options.detach === true,
    isJson: options.json === true,
    isPreloaded: options.preload,
  });
  // bin/forkpoint takes the path of the plan from this descriptor and becomes the launcher itself.
  if (cli.env['FORKPOINT_PLAN_FD'] === '3') {
    writeFileSync(3, plan);
    return 0;
  }
  return await launch(packageFiles(cli.lib, cli.places.home).launcher, ['run', plan], {
    ...cli.env,
    FORKPOINT_LIB: cli.lib,
  });
}

/** `java -XX:CRaCRestoreFrom=DIR` and `jruby --restore` start nothing: they restore. */
async function restoreInstead(cli: Cli, wish: RestoreWish, options: Options): Promise<number> {
  const env = Object.entries(options.env ?? {}).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  const words = [
    'restore',
    wish.image,
    ...(options.name === undefined ? [] : ['--name', options.name]),
    ...(options.to === undefined ? [] : ['--to', options.to]),
    ...(options.cwd === undefined ? [] : ['--cwd', options.cwd]),
    ...(options.detach === true ? ['--detach'] : []),
    ...(options.json === true ? ['--json'] : []),
    ...(wish.orRun ? ['--or-run'] : []),
    ...(wish.main === undefined ? [] : ['--main', wish.main]),
    ...wish.properties.map((property) => `-D${property}`),
    ...env,
    '--',
    ...wish.args,
  ];
  return await launch(packageFiles(cli.lib, cli.places.home).launcher, words, {
    ...cli.env,
    FORKPOINT_LIB: cli.lib,
  });
}
