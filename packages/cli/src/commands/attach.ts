import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { checkPattern, decodeEnginePlan } from '@forkpoint/manifest';
import { parseCpuWords } from '@forkpoint/store';
import { SupervisorError } from '@forkpoint/supervisor';
import type { Attached } from '@forkpoint/supervisor/codec';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { CliError, EXIT, exitCodeFor, usageError } from '../error.ts';
import { checkSetup } from '../prepare-run.ts';
import { bytesText } from '../ui/format.ts';
import { withProgress } from '../ui/progress.ts';

/** What the user said about the checkpoint of a program that forkpoint did not start. */
interface Options {
  readonly uncoordinated?: boolean;
  readonly stop?: boolean;
  readonly timeout: number;
  readonly label?: Record<string, string>;
  readonly sync: boolean;
  readonly json?: boolean;
}

declare const FORKPOINT_VERSION: string;

const CPU_MS = 5000;

/** Takes an image of a process that is in no run, prints its path and returns the exit code. */
export async function checkpointOutside(
  cli: Cli,
  pid: number,
  dest: string | undefined,
  options: Options,
): Promise<number> {
  if (dest === undefined)
    throw usageError(
      'with --pid the destination has to be given',
      'Run `forkpoint checkpoint --pid PID --uncoordinated DEST`',
    );
  if (options.uncoordinated !== true) {
    throw usageError(
      'a program that forkpoint did not start runs no hooks and renews no random numbers',
      'Add --uncoordinated if it can do without',
    );
  }
  try {
    const taken = await take(cli, pid, dest, options);
    const { image, manifest, sizes } = taken;
    if (options.json === true) {
      cli.writeOut(
        `${JSON.stringify({ id: manifest.id, image, name: manifest.origin.name, pid, generation: 0, sizes })}\n`,
      );
      return EXIT.done;
    }
    cli.writeErr(
      `${cli.paintErr('success', 'Checkpointed')} process ${pid} to ${image} (${bytesText(sizes.total)}); its clones draw the same random numbers.\n`,
    );
    cli.writeOut(`${image}\n`);
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof SupervisorError)) throw error;
    const causes = error.resources.map(({ what }) => what);
    throw new CliError(`the checkpoint of process ${pid} failed: ${error.message}`, {
      code: error.code,
      exitCode: exitCodeFor(error.code),
      hint: error.hint,
      causes: causes.filter((cause) => !error.message.includes(cause)),
    });
  }
}

async function take(cli: Cli, pid: number, dest: string, options: Options): Promise<Attached> {
  checkPattern(dest);
  const files = packageFiles(cli.lib, cli.places.home);
  await checkSetup(cli, files);
  const plan = decodeEnginePlan(await readFile(cli.places.enginePlan));
  const { stdout } = await promisify(execFile)(files.launcher, ['cpu'], {
    timeout: CPU_MS,
    maxBuffer: 65_536,
  });
  const { attach } = await import('@forkpoint/supervisor/codec');
  return await withProgress(cli, `Checkpointing process ${pid}`, () =>
    attach({
      pid,
      request: {
        to: dest,
        cwd: cli.cwd,
        ...(options.label === undefined ? {} : { labels: options.label }),
        ...(options.sync ? {} : { sync: false }),
        ...(options.stop === true ? { stop: true } : {}),
      },
      home: cli.places.home,
      criu: plan.criu,
      versions: { criu: plan.version, forkpoint: FORKPOINT_VERSION },
      cpu: parseCpuWords(stdout) ?? [],
      timeoutMs: options.timeout,
    }),
  );
}
