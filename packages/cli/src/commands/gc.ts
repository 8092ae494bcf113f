import { resolve } from 'node:path';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import {
  ByteCount,
  expired,
  findDuplicates,
  findRubbish,
  removeImage,
  removeRubbish,
  runsOf,
  shareDuplicate,
} from '@forkpoint/store';
import type { Expired, Retention, Rubbish } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import type { StoreView } from '@forkpoint/supervisor/host';
import { ageMs, sizeBytes } from '../options.ts';
import type { Finish } from '../program.ts';
import { viewed } from '../store-view.ts';
import { bytesText, safeText } from '../ui/format.ts';
import { withWork } from '../ui/work.ts';

interface Options {
  readonly keep?: number;
  readonly maxAge?: number;
  readonly quota?: number;
  readonly cacheAge: number;
  readonly dedup?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** One thing that goes. */
interface Going {
  readonly kind: Rubbish['kind'] | 'image' | 'duplicate';
  readonly path: string;
  readonly bytes: number;
  readonly why: string;
}

const WEEK_MS = 7 * 24 * 3600 * 1000;

/** Adds `forkpoint gc`. */
export function addGc(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('gc')
    .summary('remove what nobody needs')
    .description(
      'Removes half-made directories whose maker has ended, temporary images of forks that have ended, page files of killed ' +
        'runs and unused cache. Images go only with --keep, --max-age or --quota, and never while a program runs from them.',
    )
    .argument('[dirs...]', 'directories of images elsewhere: what was left half-made in them goes too')
    .option('--keep <number>', 'keep this many images of each program, the newest', countOf)
    .option('--max-age <age>', 'remove older images: 30d, 12h, 45min', ageMs)
    .option('--quota <size>', 'remove the oldest images until all fit: 10GB, 500MB', sizeBytes)
    .option('--cache-age <age>', 'remove what was not used for this long from the cache', ageMs, WEEK_MS)
    .option(
      '--dedup',
      'hold equal files of images once: page files, packed or not, and contents of deleted files',
    )
    .option('--dry-run', 'only say what would be removed')
    .option('--json', 'print what was removed as a JSON array')
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint gc --dry-run\n  forkpoint gc --keep 5 --quota 20GB\n  forkpoint gc ./images',
    )
    .action(async (directories: string[], options: Options) => {
      const view = await viewed(cli);
      const { going, stayingBytes } = await planOf(cli, view, { ...options, directories });
      if (options.dryRun !== true) {
        // What has begun to go is gone before Ctrl-C counts.
        const work = async ({ signal }: { signal: AbortSignal }): Promise<void> => {
          for (const { remove } of going) {
            signal.throwIfAborted();
            await remove(signal);
          }
        };
        await withWork(cli, 'Removing', work, 'what was not removed yet is as it was');
      }
      report(
        cli,
        going.map(({ remove: _remove, ...rest }) => rest),
        options,
      );
      if (options.quota !== undefined && stayingBytes > options.quota)
        cli.writeErr(
          `Note: images of ${bytesText(stayingBytes)} stay, which is over the quota: programs run from them.\n`,
        );
      finish(0);
    });
}

async function planOf(
  cli: Cli,
  view: StoreView,
  options: Options & { readonly directories: readonly string[] },
): Promise<{
  going: (Going & { readonly remove: (signal: AbortSignal) => Promise<void> })[];
  /** Bytes of all images that stay, each file once. */
  stayingBytes: number;
}> {
  const policy: Retention = {
    ...(options.keep === undefined ? {} : { keep: options.keep }),
    ...(options.maxAge === undefined ? {} : { maxAgeMs: options.maxAge }),
    ...(options.quota === undefined ? {} : { quotaBytes: options.quota }),
  };
  const nowMs = Date.now();
  const isBusy = (image: Expired['image']): boolean => runsOf(image, view.runs).length > 0;
  const images = expired(view.images, policy, { nowMs, isBusy });
  const gone = new Set(images.map(({ image }) => image));
  const staying = view.images.filter((image) => !gone.has(image));
  const given = {
    runs: view.runs,
    imageIds: new Set(staying.map(({ id }) => id)),
    nowMs,
    cacheMs: options.cacheAge,
  };
  const directories = options.directories.map((directory) => resolve(cli.cwd, directory));
  const rubbish = await findRubbish(cli.places, given, directories);
  const duplicates = options.dedup === true ? await findDuplicates(staying) : [];
  // What an image frees depends on those that go before it.
  const count = new ByteCount(view.images);
  const going = [
    ...images.map(({ image, why }) => {
      const remove = async (): Promise<void> => await removeImage(image.path);
      return { kind: 'image' as const, path: image.path, bytes: count.remove(image), why, remove };
    }),
    ...rubbish.map((item) => ({ ...item, remove: async () => await removeRubbish(item) })),
    ...duplicates.map((item) => {
      const remove = async (signal: AbortSignal): Promise<void> => void (await shareDuplicate(item, signal));
      return {
        kind: 'duplicate' as const,
        path: item.path,
        bytes: item.bytes,
        why: `equals ${item.original}`,
        remove,
      };
    }),
  ];
  return { going, stayingBytes: count.totalBytes };
}

function report(cli: Cli, going: readonly Going[], options: Options): void {
  const isDry = options.dryRun === true;
  if (options.json === true) {
    cli.writeOut(
      `${JSON.stringify(
        going.map((item) => ({ ...item, dryRun: isDry })),
        null,
        2,
      )}\n`,
    );
    return;
  }
  for (const { kind, path, bytes, why } of going)
    cli.writeOut(
      `${bytesText(bytes).padStart(8)}  ${kind.padEnd(9)}  ${safeText(path)}  (${safeText(why)})\n`,
    );
  const total = going.reduce((sum, { bytes }) => sum + bytes, 0);
  const verb = isDry ? 'would be removed' : 'removed';
  cli.writeErr(going.length === 0 ? 'There is nothing to remove.\n' : `${bytesText(total)} ${verb}.\n`);
}

function countOf(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It is a number, such as 5.');
  return Number(text);
}
