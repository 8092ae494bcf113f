// Walks through the steps of an operation: all of them with `npm run faults`, a few that are drawn anew in every test run.

/** Whether every step is walked. */
export const isFullWalk: boolean = process.env['FORKPOINT_FAULTS'] === 'all';

/** How an operation may be refused: no space, an error of the disk, no descriptors left. A test run takes the first; the others are as quick, and many. */
export const ERRORS: readonly ('space' | 'io' | 'files')[] = isFullWalk
  ? ['space', 'io', 'files']
  : ['space'];

/** At which operations one is refused: at all, or at every third from another one on in each test run. */
export const REFUSALS: { readonly first: number; readonly stride: number } = isFullWalk
  ? { first: 1, stride: 1 }
  : { first: 1 + (Math.floor(Date.now() / 1000) % 3), stride: 3 };

const STRIDE = isFullWalk ? 1 : 9;

/** Strikes at steps until there is no such step; returns at how many it struck. A walk that is not full takes every ninth. */
export async function stepsFrom(strike: (step: number) => Promise<boolean>): Promise<number> {
  let count = 0;
  for (let step = 1 + (isFullWalk ? 0 : Date.now() % STRIDE); await strike(step); step += STRIDE) count++;
  return count;
}
