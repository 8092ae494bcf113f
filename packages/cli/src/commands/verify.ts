import type { Command } from 'commander';
import { list, upgrade, verify } from '@forkpoint/supervisor/host';
import type { VerifyResult } from '@forkpoint/supervisor/host';
import type { Cli } from '../context.ts';
import { EXIT } from '../error.ts';
import type { Finish } from '../program.ts';
import { bytesText, safeText } from '../ui/format.ts';
import { withWork } from '../ui/work.ts';

interface Options {
  readonly repair?: boolean;
  readonly record?: boolean;
  readonly json?: boolean;
}

/** Adds `forkpoint verify` and `forkpoint upgrade`. */
export function addVerify(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('verify')
    .summary('look for damage in images')
    .description(
      'Reads everything that images consist of, the mapped files of their programs included, and compares it with the digests ' +
        'that were computed when they were taken. Ends with 1 when something is damaged, and names the file.',
    )
    .argument('[images...]', 'paths or names (default: all of the store)')
    .option('--repair', 'replace damaged layers by good copies from other images or running programs')
    .option('--record', 'compute the digests of images that have none')
    .option('--json', 'print a JSON array')
    .addHelpText('after', '\nExamples:\n  forkpoint verify\n  forkpoint verify ./warm --repair')
    .action(async (names: string[], options: Options) => {
      finish(await verifyAll(cli, names, options));
    });
  program
    .command('upgrade')
    .summary('write an image of an earlier format anew')
    .description(
      'Writes an image of an earlier format in the present one, in place. It restores without that, too.',
    )
    .argument('<image>', 'a path when it contains / or starts with ., else a name')
    .option('--json', 'print what was made as JSON')
    .addHelpText('after', '\nExamples:\n  forkpoint upgrade warm\n  forkpoint upgrade ./warm --json')
    .action(async (name: string, options: { json?: boolean }) => {
      const { image, isChanged } = await withWork(
        cli,
        `Upgrading ${name}`,
        async (work) => await upgrade(name, work),
      );
      if (options.json === true) cli.writeOut(`${JSON.stringify({ image, isChanged })}\n`);
      else cli.writeErr(isChanged ? `Upgraded ${image}.\n` : `${image} has the present format already.\n`);
      finish(EXIT.done);
    });
}

async function verifyAll(cli: Cli, names: readonly string[], options: Options): Promise<number> {
  const outcomes: VerifyResult[] = [];
  for (const name of names.length > 0 ? new Set(names) : await allOf(cli)) {
    const outcome = await withWork(
      cli,
      `Verifying ${name}`,
      async (work) => await verify(name, { ...work, repair: options.repair, record: options.record }),
    );
    outcomes.push(outcome);
    if (options.json !== true) cli.writeOut(text(cli, outcome));
    if (options.json !== true && outcome.problems.length > 0)
      cli.writeErr(
        options.repair === true
          ? 'Hint: No other image of the store and no running program has a good copy of that.\n'
          : `Hint: Look for good copies in other images with \`forkpoint verify --repair ${name}\`\n`,
      );
  }
  if (options.json === true) cli.writeOut(`${JSON.stringify(outcomes, null, 2)}\n`);
  else if (outcomes.length === 0) cli.writeErr('There is no image.\n');
  return outcomes.some(({ problems }) => problems.length > 0) ? EXIT.user : EXIT.done;
}

async function allOf(cli: Cli): Promise<string[]> {
  const { images, damaged } = await list({ home: cli.places.home });
  return [...images, ...damaged].map(({ path }) => path);
}

function text(cli: Cli, { image, problems, repaired, hasDigests, bytes }: VerifyResult): string {
  const lines = repaired.map(({ file, from }) => `  ${file}: repaired from ${from}`);
  lines.push(
    ...problems.map(({ file, message }) =>
      message.includes(file) ? `  ${message}` : `  ${file}: ${message}`,
    ),
  );
  const state =
    problems.length > 0
      ? cli.paintOut('error', 'damaged')
      : hasDigests
        ? `${cli.paintOut('success', 'good')} (${bytesText(bytes)} read)`
        : cli.paintOut('warning', 'no digests yet: only sizes were compared');
  return [`${safeText(image)}: ${state}`, ...lines.map(safeText)].map((line) => `${line}\n`).join('');
}
