import { CheckpointException, codeOf, CoreError, messageOf, RestoreException } from './errors.ts';
import type { BlockingResource } from './types.ts';
import type { Answer } from './wire.ts';

/** Returns the exception for an answer that is not the one that was hoped for. */
export function failureOf(answer: Answer, errors: unknown[]): CheckpointException {
  if (answer.outcome !== 'failed') {
    const message = `the launcher answered ${answer.outcome} where that has no meaning`;
    return new CheckpointException({ code: 'ERR_FORKPOINT_PROTOCOL', message, errors });
  }
  const { code, message, resources, hint } = answer;
  return new CheckpointException({
    code,
    message,
    resources,
    errors: errors.length > 0 ? errors : [new CoreError(code, message)],
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Returns the exception for what went wrong after a checkpoint. */
export function restoreFailure(errors: unknown[]): RestoreException {
  const code = errors.every((error) => codeOf(error, '') === 'ERR_FORKPOINT_RESEED') ? 'RESEED' : 'HOOK';
  return new RestoreException(`ERR_FORKPOINT_${code}`, `after the checkpoint: ${describe(errors)}`, errors);
}

/** Returns what stood in the way, as a list for the worker. */
export function blockers(errors: readonly unknown[], kind: string): BlockingResource[] {
  return errors.map((error) => ({ kind, what: messageOf(error).slice(0, 200), pid: process.pid }));
}

/** Says what went wrong in one line. */
export function describe(errors: readonly unknown[]): string {
  const first = messageOf(errors[0]);
  return errors.length === 1 ? first : `${first}, and ${errors.length - 1} more failures`;
}

/** Tells the program what has no caller. The library prints nothing itself; a warning is Node's way. */
export function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), {
    code: codeOf(error, 'ERR_FORKPOINT'),
  });
}
