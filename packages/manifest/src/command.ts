import { invalid } from './record-set.ts';

/** Returns an argument vector from its JSON text; throws ERR_FORKPOINT_PLAN_INVALID. */
export function parseCommand(text: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(
      `the plan record "command" is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
    );
  }
  if (!Array.isArray(value) || !value.every((item): item is string => typeof item === 'string')) {
    throw invalid('the plan record "command" is not a list of strings');
  }
  return value;
}
