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

/** The parts of a full walk that are wanted: `CALLER`, `CALLER,VICTIM` or `CALLER,VICTIM,FROM`, where FROM is the operation to begin with. */
const PARTS = (process.env['FORKPOINT_FAULT_PARTS'] ?? '').split(' ').filter(Boolean);

/** Whether the walk is of some parts only. */
export const isPartial: boolean = PARTS.length > 0;

/** Returns the operation, from 1 on, at which the walk of a caller and a victim or fault begins, or undefined when it is not wanted. */
export function partOf(caller: string, victim: string): number | undefined {
  if (!isPartial) return 1;
  const part = PARTS.map((one) => one.split(',')).find(
    ([first, second]) => first === caller && (second ?? victim) === victim,
  );
  return part === undefined ? undefined : Number(part[2] ?? 1);
}

/**
 * Lets each of these walk at every operation from `from` on until there is no more: a point waits as long as it computes, so that several go
 * on at once. Returns how many points there were. At the first that throws, the others come to their end before it is thrown, so
 * that nothing is cleared away under them.
 */
export async function walkLanes<W>(
  walks: readonly W[],
  from: number,
  strikes: (walk: W, at: number) => Promise<boolean>,
): Promise<number> {
  let count = 0;
  let isOver = false;
  const lanes = walks.map(async (walk, lane) => {
    try {
      for (let at = from + lane; !isOver && (await strikes(walk, at)); at += walks.length) count++;
    } catch (error) {
      isOver = true;
      throw error;
    }
  });
  await Promise.allSettled(lanes);
  await Promise.all(lanes);
  return count;
}
