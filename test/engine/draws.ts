import { eventually } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { logOf } from './pods.ts';

/** One random value that a process or thread printed. */
export interface Draw {
  readonly role: string;
  readonly value: string;
}

const LINES = 10;

/**
 * Returns what each role printed in the first lines of a detached run's log: `draws ROLE VALUE...`. `skipped` is the
 * number of lines of each role that are left out because their values may be older than the restore.
 */
export async function firstDraws(
  person: Person,
  id: string,
  roles: readonly string[],
  skipped = 0,
): Promise<Draw[]> {
  return await eventually(
    () => {
      const lines = [...logOf(person, id).matchAll(/^draws (\S+) (.*)$/gm)];
      const found = roles.map((role) =>
        lines.filter((line) => line[1] === role).slice(skipped, skipped + LINES),
      );
      if (found.some((of) => of.length < LINES)) return undefined;
      return found
        .flat()
        .flatMap(([, role = '', values = '']) => values.split(' ').map((value) => ({ role, value })));
    },
    `the random values of ${roles.join(', ')} in run ${id}`,
  );
}

/** Returns the values that more than one of the runs printed. */
export function common(runs: readonly (readonly Draw[])[]): Draw[] {
  const seen = new Map<string, number>();
  return runs.flatMap((draws, run) =>
    draws.filter(({ value }) => {
      const first = seen.get(value) ?? run;
      seen.set(value, first);
      return first !== run;
    }),
  );
}
