import type { Resource } from '@forkpoint/manifest';

/** Why a checkpoint could not be taken. The program goes on in every case. */
export type SupervisorErrorCode =
  | 'ERR_FORKPOINT_CANNOT_CHECKPOINT'
  | 'ERR_FORKPOINT_DESTINATION'
  | 'ERR_FORKPOINT_ENGINE'
  | 'ERR_FORKPOINT_TIMEOUT'
  | 'ERR_FORKPOINT_HOOK'
  | 'ERR_FORKPOINT_PUBLISH'
  | 'ERR_FORKPOINT_TRAIN'
  | 'ERR_FORKPOINT_ENDED'
  | 'ERR_FORKPOINT_FORK'
  | 'ERR_FORKPOINT_POOL'
  | 'ERR_FORKPOINT_PROBE'
  | 'ERR_FORKPOINT_LISTEN'
  | 'ERR_FORKPOINT_HURRY'
  | 'ERR_FORKPOINT_CANCELLED'
  | 'ERR_FORKPOINT_SETUP'
  | 'ERR_FORKPOINT_CONFIG'
  | 'ERR_FORKPOINT_INTERNAL';

/** A failure that the asker is told: what failed, on what, why, and what to run next. */
export class SupervisorError extends Error {
  readonly code: SupervisorErrorCode;
  readonly hint: string | undefined;
  readonly resources: readonly Resource[];

  constructor(
    code: SupervisorErrorCode,
    message: string,
    options: { hint?: string | undefined; resources?: readonly Resource[]; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'SupervisorError';
    this.code = code;
    this.hint = options.hint;
    this.resources = options.resources ?? [];
  }
}
