import type { PreflightOptions } from '@forkpoint/store';
import type { ReforkPolicy } from '../refork/index.ts';
import type { AppKey } from './kept.ts';

/** What a re-forking server is made of. */
export interface ServeOptions {
  /** How operators call it; unique among the living servers of a data directory, or not: then their ids tell them apart. */
  readonly name: string;
  readonly command: readonly string[];
  readonly policy: ReforkPolicy;
  /** Where the program runs. */
  readonly cwd: string;
  /** The image that workers start from at first; null for a cold start or an image that was kept. */
  readonly from: string | null;
  /** Tells programs and states of their code apart; null when nothing is kept for the next start. */
  readonly keyOf: (() => Promise<AppKey | null>) | null;
  readonly preflight: PreflightOptions;
  /** The data directory, and where runs lie in it. */
  readonly home: string;
  readonly runs: string;
  readonly launcher: string;
  /** The argument vector of the checkpoint worker. */
  readonly worker: readonly string[];
  /** Writes the plan of a run of the program with these variables; returns its path, in the directory of the run. */
  prepare(env: Readonly<Record<string, string>>): Promise<string>;
  log(level: 'info' | 'warning', text: string): void;
}
