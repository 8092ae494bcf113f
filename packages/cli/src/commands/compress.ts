import type { Command } from 'commander';
import { compress, decompress, unpack } from '@forkpoint/supervisor/host';
import type { ChangeOptions, CompressResult } from '@forkpoint/supervisor/host';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';
import { bytesText, durationText } from '../ui/format.ts';
import { withWork } from '../ui/work.ts';

interface Options {
  readonly sync: boolean;
  readonly json?: boolean;
}

/** Adds `forkpoint compress`, `forkpoint decompress`, and `unpack`, which the launcher calls. */
export function addCompress(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('compress')
    .summary('make an image smaller')
    .description(
      'Compresses the memory of an image with zstd, in place. A compressed image restores directly: the first restore unpacks ' +
        'it into the cache, which all others share and `forkpoint gc` empties.',
    )
    .argument('<image>', 'a path when it contains / or starts with ., else a name')
    .option('--no-sync', 'do not wait for the disk')
    .option('--json', 'print what was made as JSON')
    .addHelpText('after', '\nExamples:\n  forkpoint compress warm\n  forkpoint compress ./warm --json')
    .action(async (image: string, options: Options) => {
      await rewrite(cli, image, options, { label: 'Compressing', verb: 'Compressed', work: compress });
      finish(0);
    });
  program
    .command('decompress')
    .summary('make a compressed image plain again')
    .description('Decompresses the memory of an image, in place, so that its first restore needs no cache.')
    .argument('<image>', 'a path when it contains / or starts with ., else a name')
    .option('--no-sync', 'do not wait for the disk')
    .option('--json', 'print what was made as JSON')
    .addHelpText('after', '\nExamples:\n  forkpoint decompress warm\n  forkpoint decompress ./warm --json')
    .action(async (image: string, options: Options) => {
      await rewrite(cli, image, options, {
        label: 'Decompressing',
        verb: 'Decompressed',
        work: decompress,
      });
      finish(0);
    });
  program
    .command('unpack', { hidden: true })
    .description(
      'Unpacks a compressed image into the cache and prints the directory; a restore does this by itself.',
    )
    .argument('<image>', 'a path when it contains / or starts with ., else a name')
    .action(async (image: string) => {
      const directory = await withWork(cli, `Unpacking ${image}`, async (work) => await unpack(image, work));
      cli.writeOut(`${directory}\n`);
      finish(0);
    });
}

async function rewrite(
  cli: Cli,
  argument: string,
  options: Options,
  how: {
    readonly label: string;
    readonly verb: string;
    readonly work: (image: string, options: ChangeOptions) => Promise<CompressResult>;
  },
): Promise<void> {
  const started = performance.now();
  const done = await withWork(
    cli,
    `${how.label} ${argument}`,
    async (work) => await how.work(argument, { ...work, sync: options.sync }),
  );
  const { manifest, isChanged, rawBytes, storedBytes } = done;
  if (options.json === true) {
    const { id, generation } = manifest;
    const told = {
      id,
      image: done.image,
      name: manifest.origin.name,
      generation,
      isChanged,
      rawBytes,
      storedBytes,
    };
    cli.writeOut(`${JSON.stringify(told)}\n`);
    return;
  }
  const elapsed = durationText(performance.now() - started);
  cli.writeErr(
    isChanged
      ? `${cli.paintErr('success', how.verb)} ${done.image}: ${bytesText(rawBytes)} of memory in ${bytesText(storedBytes)} (${elapsed}).\n`
      : `${done.image} is ${how.verb.toLowerCase()} already.\n`,
  );
  cli.writeOut(`${done.image}\n`);
}
