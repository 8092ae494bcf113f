import { processContext } from './context.ts';
import { EXIT } from './error.ts';
import { runCommandLine } from './program.ts';

declare const FORKPOINT_VERSION: string | undefined;

const OLDEST_NODE = 20;

async function main(): Promise<void> {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < OLDEST_NODE) {
    process.stderr.write(
      `Error: forkpoint needs Node.js ${OLDEST_NODE} or newer, and this is ${process.version}\n`,
    );
    process.exitCode = EXIT.user;
    return;
  }
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // Who closed the pipe wants no more: nothing has failed.
      if (error.code === 'EPIPE') process.exit(process.exitCode ?? EXIT.done);
      throw error;
    });
  }
  // The bundle's build replaces this name; from source there is no version.
  const version = typeof FORKPOINT_VERSION === 'string' ? FORKPOINT_VERSION : '0.0.0';
  process.exitCode = await runCommandLine(processContext(), process.argv.slice(2), version);
}

main().catch((error: unknown) => {
  process.stderr.write(`Error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = EXIT.bug;
});
