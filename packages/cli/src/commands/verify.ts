import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import {
  listStore,
  recordDigests,
  repairImage,
  resolveImage,
  upgradeImage,
  verifyImage,
} from '@forkpoint/store';
import type { Problem, Verification } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import { EXIT } from '../error.ts';
import type { Finish } from '../program.ts';
import { bytesText, safeText } from '../ui/format.ts';
import { withBytes } from '../ui/work.ts';
import { rewriteOptions } from './compress.ts';

interface Options {
  readonly repair?: boolean;
  readonly record?: boolean;
  readonly json?: boolean;
}

/** A verification, and what was repaired. */
interface Outcome extends Verification {
  readonly repaired: readonly { readonly file: string; readonly from: string }[];
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
    .option('--repair', 'replace damaged layers by good copies from other images')
    .option('--record', 'compute the digests of images that have none')
    .option('--json', 'print a JSON array')
    .addHelpText('after', '\nExamples:\n  forkpoint verify\n  forkpoint verify ./warm --repair')
    .action(async (names: string[], options: Options) => {
      finish(await verify(cli, names, options));
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
      const image = resolveImage(name, cli.cwd, cli.places.images);
      const isChanged = await withBytes(
        cli,
        `Upgrading ${name}`,
        0,
        async (work) => await upgradeImage(image, rewriteOptions(cli, work, true)),
      );
      if (options.json === true) cli.writeOut(`${JSON.stringify({ image, isChanged })}\n`);
      else cli.writeErr(isChanged ? `Upgraded ${image}.\n` : `${image} has the present format already.\n`);
      finish(EXIT.done);
    });
}

async function verify(cli: Cli, names: readonly string[], options: Options): Promise<number> {
  const listing = await listStore(cli.places);
  const all = [...listing.images, ...listing.damaged].map(({ path }) => path);
  const paths =
    names.length === 0 ? all : names.map((name) => resolveImage(name, cli.cwd, cli.places.images));
  const outcomes: Outcome[] = [];
  for (const path of new Set(paths)) {
    const outcome = await verifyOne(cli, path, { options, others: all.filter((other) => other !== path) });
    outcomes.push(outcome);
    if (options.json !== true) cli.writeOut(text(cli, outcome));
  }
  if (options.json === true) cli.writeOut(`${JSON.stringify(outcomes, null, 2)}\n`);
  else if (outcomes.length === 0) cli.writeErr('There is no image.\n');
  return outcomes.some(({ problems }) => problems.length > 0) ? EXIT.user : EXIT.done;
}

async function verifyOne(
  cli: Cli,
  image: string,
  given: { readonly options: Options; readonly others: readonly string[] },
): Promise<Outcome> {
  const { options, others } = given;
  return await withBytes(cli, `Verifying ${image}`, 0, async (work) => {
    const first = await verifyImage(image, work);
    if (options.record === true && !first.hasDigests && first.problems.length === 0) {
      await recordDigests(image, { ...work, memory: join(cli.places.cache, 'digests.json') });
      return { ...(await verifyImage(image, work)), repaired: [] };
    }
    if (options.repair !== true || first.problems.length === 0) return { ...first, repaired: [] };
    const directories = [...others, ...(await unpackedImages(cli))];
    const { repaired } = await repairImage(image, first.problems, {
      ...rewriteOptions(cli, work, true),
      directories,
    });
    return { ...(repaired.length > 0 ? await verifyImage(image, work) : first), repaired };
  });
}

async function unpackedImages(cli: Cli): Promise<string[]> {
  const directory = join(cli.places.cache, 'unpacked');
  const names = await readdir(directory).catch(() => [] as string[]);
  return names.filter((name) => !name.startsWith('.')).map((name) => join(directory, name));
}

function text(cli: Cli, { image, problems, repaired, hasDigests, bytes }: Outcome): string {
  const lines = repaired.map(({ file, from }) => `  ${file}: repaired from ${from}`);
  lines.push(
    ...problems.map(({ file, message }: Problem) =>
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
