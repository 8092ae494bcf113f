import { join } from 'node:path';
import type { Resource } from '@forkpoint/manifest';
import { readEngineLog } from '@forkpoint/engine';
import { SupervisorError } from './error.ts';
import { readText } from './proc.ts';

/** Returns what the rewriter cannot carry as something that stands in the way. */
export function lostFinding(
  kind: string,
  what: string,
  pid: number | undefined,
  fd: number | undefined,
): Resource {
  return { kind, what, ...(pid === undefined ? {} : { pid }), ...(fd === undefined ? {} : { fd }) };
}

/** Returns the error that names everything that stands in the way. */
export function cannotCheckpoint(findings: readonly Resource[]): SupervisorError {
  const list = findings.map(({ what }) => what);
  return new SupervisorError(
    'ERR_FORKPOINT_CANNOT_CHECKPOINT',
    findings.length === 1
      ? `the program cannot be checkpointed: ${list[0]}`
      : `${findings.length} things stand in the way of a checkpoint`,
    { resources: findings },
  );
}

/** Returns the error for a dump that did not end with 0, with the cause from CRIU's log in `directory`. */
export function dumpFailure(directory: string, status: number | 'timeout'): SupervisorError {
  if (status === 'timeout') {
    return new SupervisorError(
      'ERR_FORKPOINT_TIMEOUT',
      'criu did not finish the dump in time and was ended',
      {
        hint: 'raise the limit with `--timeout SECONDS`',
      },
    );
  }
  const log = readEngineLog(readText(join(directory, 'dump.log')) ?? '');
  process.stderr.write(log.errors.map((line) => `${line}\n`).join(''));
  // Where the cause is understood, the first of CRIU's own lines is enough; the run's launcher.log has all of them.
  const lines = log.errors.slice(0, log.reason === null ? 8 : 1);
  return new SupervisorError(
    // A full disk is the environment's fault and not the engine's.
    log.code === 'space' ? 'ERR_FORKPOINT_DESTINATION' : 'ERR_FORKPOINT_ENGINE',
    `criu could not dump the program: ${log.reason ?? log.errors[0] ?? `it ended with status ${status}`}`,
    {
      ...(log.hint === null ? {} : { hint: log.hint }),
      resources: lines.map((what) => ({ kind: 'criu', what })),
    },
  );
}
