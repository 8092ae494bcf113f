import type { Mold } from '../refork/index.ts';
import type { Part } from './crew.ts';
import { BUCKETS } from './told.ts';

/** So many images are remembered after they have gone. */
const REMEMBERED = 50;

/** An image there is or was. */
export interface PastMold {
  readonly mold: Pick<Mold, 'id' | 'release' | 'generation' | 'bytes'>;
  readonly parent: number | null;
  readonly madeAt: Date;
}

/** What a server has been through: what workers that have ended had answered, and which images there were. */
export class History {
  readonly molds: PastMold[] = [];
  reforks = 0;
  reloads = 0;
  exits = 0;
  requests = 0;
  seconds = 0;
  cpuSeconds = 0;
  readonly buckets: number[] = Array.from({ length: BUCKETS.length + 1 }, () => 0);

  /** An image was made; `parent` is the one that its worker came from. */
  made(mold: PastMold['mold'], parent: number | null): void {
    if (parent !== null) this.reforks++;
    this.molds.push({ mold, parent, madeAt: new Date() });
    if (this.molds.length > REMEMBERED) this.molds.shift();
  }

  /** A worker has ended: what it had counted is not lost. */
  ended({ told, usage }: Part): void {
    this.exits++;
    this.requests += told.requests;
    this.seconds += told.seconds;
    this.cpuSeconds += usage.cpuSeconds;
    for (const [at, count] of told.buckets.entries()) this.buckets[at] = (this.buckets[at] ?? 0) + count;
  }
}
