import { join } from 'node:path';
import type { Command } from 'commander';
import {
  compressImage,
  decompressImage,
  launcherExchange,
  readManifest,
  resolveImage,
  unpackedDirectory,
} from '@forkpoint/store';
import type { Compressed, CompressOptions } from '@forkpoint/store';
import { codecAddon, packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';
import { bytesText, durationText } from '../ui/format.ts';
import { withBytes } from '../ui/work.ts';
import type { Work } from '../ui/work.ts';

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
      await rewrite(cli, image, options, { label: 'Compressing', verb: 'Compressed', work: compressImage });
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
        work: decompressImage,
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
      cli.writeOut(`${await unpackFor(cli, resolveImage(image, cli.cwd, cli.places.images))}\n`);
      finish(0);
    });
}

/** Returns where the files of an image lie as CRIU reads them; those of a compressed one are unpacked when they are not yet. */
export async function unpackFor(cli: Cli, image: string): Promise<string> {
  const manifest = await readManifest(image);
  const total = manifest.layers.reduce((sum, { size }) => sum + size, 0);
  return await withBytes(
    cli,
    `Unpacking ${image}`,
    total,
    async (work) =>
      await unpackedDirectory(image, cli.places, { addon: codecAddon(cli.places.home), ...work }),
  );
}

/** Returns what the functions of the store need to write an image anew. */
export function rewriteOptions(cli: Cli, work: Work, isSynced: boolean): CompressOptions {
  return {
    exchange: launcherExchange(packageFiles(cli.lib, cli.places.home).launcher),
    addon: codecAddon(cli.places.home),
    memory: join(cli.places.cache, 'digests.json'),
    sync: isSynced,
    ...work,
  };
}

async function rewrite(
  cli: Cli,
  argument: string,
  options: Options,
  how: {
    readonly label: string;
    readonly verb: string;
    readonly work: (image: string, options: CompressOptions) => Promise<Compressed>;
  },
): Promise<void> {
  const image = resolveImage(argument, cli.cwd, cli.places.images);
  const { layers } = await readManifest(image);
  const total = layers.reduce((sum, { size }) => sum + size, 0);
  const started = performance.now();
  const done = await withBytes(
    cli,
    `${how.label} ${argument}`,
    total,
    async (work) => await how.work(image, rewriteOptions(cli, work, options.sync)),
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
