import type { ReforkPolicy } from '../refork/index.ts';

/** What a re-forking server is made of. */
export interface ServeOptions {
  /** How operators call it; unique among the living servers of a data directory, or not: then their ids tell them apart. */
  readonly name: string;
  readonly command: readonly string[];
  readonly policy: ReforkPolicy;
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
