import type { ControlDirectory } from './control-directory.ts';
import { CheckpointException } from './errors.ts';
import { failureOf, restoreFailure } from './failures.ts';
import { socketName } from './family.ts';
import type { Cradle, Family } from './family.ts';
import type { Member } from './member.ts';
import { forkRequest } from './options.ts';
import type { Forked, ForkOptions } from './types.ts';
import type { Answer } from './wire.ts';

/** Forks this process, by one dump from which all children start. */
export async function forkMember(
  { member, family, control }: { member: Member; family: Family; control: ControlDirectory },
  options: ForkOptions = {},
): Promise<Forked> {
  const request = forkRequest(options);
  const { signal } = options;
  signal?.throwIfAborted();
  const socket = socketName();
  let cradle: Cradle | undefined;
  try {
    return await member.enqueue<Forked>(
      { ...request, socket },
      {
        timeoutMs: options.timeoutMs,
        freezing: () => signal?.throwIfAborted(),
        answered: ({ outcome }) => {
          if (outcome === 'continued')
            cradle = family.await(`${control.path}/${socket}`, request.count, {
              isDetached: options.detached === true,
              hasStreams: options.stdio === 'pipe',
            });
        },
        conclude: async (answer, errors) => {
          if (answer.outcome === 'restored') return await asChild(family, member, answer, errors);
          if (cradle === undefined) throw failureOf(answer, errors);
          const last = await member.lastAnswer(answer);
          if (last.outcome !== 'published') throw failureOf(last, errors);
          return await asParent(cradle, errors, signal);
        },
      },
    );
  } catch (error) {
    cradle?.abort(error instanceof Error ? error : new Error(String(error)));
    // What was given up by the caller is told in the caller's own words.
    if (cradle !== undefined || signal?.aborted === true) signal?.throwIfAborted();
    throw error;
  }
}

async function asChild(family: Family, member: Member, answer: Answer, errors: unknown[]): Promise<Forked> {
  if (errors.length > 0) throw restoreFailure(errors);
  const channel = await family.reach(answer.fork?.socket ?? null, answer.fork?.index ?? 0);
  return { role: 'child', channel, self: member.identity };
}

async function asParent(
  cradle: Cradle,
  failures: unknown[],
  signal: AbortSignal | undefined,
): Promise<Forked> {
  const { children, errors } = await cradle.settle(signal);
  if (failures.length > 0) throw restoreFailure(failures);
  if (children.length > 0) return { role: 'parent', children, errors };
  const first = errors[0]?.message ?? 'nobody came';
  throw new CheckpointException({
    code: 'ERR_FORKPOINT_FORK',
    message: errors.length > 1 ? `none of ${errors.length} children started: ${first}` : first,
    errors,
  });
}
