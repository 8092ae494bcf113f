import type { Cli } from '../context.ts';
import { CliError, EXIT, exitCodeFor } from '../error.ts';
import { safeText } from './format.ts';

/** What is printed of an error. */
interface Told {
  readonly message: string;
  readonly causes: readonly string[];
  readonly hint: string | undefined;
  readonly exitCode: number;
}

const REPORT = 'This is a bug in forkpoint. Please report it with the output of `FORKPOINT_DEBUG=1`';

/** Prints an error as `Error:`, `Caused by:` and `Hint:` to stderr and returns the exit code that it means. */
export function printError(cli: Cli, error: unknown): number {
  const told = tell(error);
  const lines = [`${cli.paintErr('error', 'Error:')} ${sentence(told.message)}`];
  if (told.causes.length === 1)
    lines.push(`${cli.paintErr('error', 'Caused by:')} ${sentence(told.causes[0] ?? '')}`);
  if (told.causes.length > 1) {
    lines.push(
      cli.paintErr('error', 'Caused by:'),
      ...told.causes.map((cause, index) => `${index + 1}: ${sentence(cause)}`),
    );
  }
  for (const hint of told.hint?.split('\n') ?? [])
    lines.push(`${cli.paintErr('hint', 'Hint:')} ${safeText(hint)}`);
  if (isOn(cli.env['FORKPOINT_DEBUG']) && error instanceof Error) lines.push(error.stack ?? '');
  cli.writeErr(`${lines.join('\n')}\n`);
  return told.exitCode;
}

function tell(error: unknown): Told {
  if (error instanceof CliError) {
    return { message: error.message, causes: error.causes, hint: error.hint, exitCode: error.exitCode };
  }
  if (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    error.code.startsWith('ERR_FORKPOINT_')
  ) {
    const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined;
    return { message: error.message, causes: causesOf(error), hint, exitCode: exitCodeFor(error.code) };
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { message, causes: error instanceof Error ? causesOf(error) : [], hint: REPORT, exitCode: EXIT.bug };
}

function causesOf(error: Error): string[] {
  const causes: string[] = [];
  let at: unknown = error.cause;
  // A chain may be circular; nobody reads more than a few of its links.
  while (at instanceof Error && causes.length < 5) {
    // Our own messages give the reason of a system error in words already.
    const isSystem = 'code' in at && typeof at.code === 'string' && /^E[A-Z0-9]+$/.test(at.code);
    if (!isSystem && !error.message.includes(at.message)) causes.push(at.message);
    at = at.cause;
  }
  return causes;
}

function sentence(text: string): string {
  const clean = safeText(text.trim());
  return /^[a-z][a-z]* /.test(clean) ? `${clean.charAt(0).toUpperCase()}${clean.slice(1)}` : clean;
}

function isOn(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0';
}
