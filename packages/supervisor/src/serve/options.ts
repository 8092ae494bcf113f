import type { PreflightOptions } from '@forkpoint/store';
import type { ReforkPolicy } from '../refork/index.ts';
import type { MonitorHooks } from './config.ts';
import type { AppKey } from './kept.ts';
import type { PlaceToListen } from './lines.ts';
import type { ServiceManager } from './notify.ts';
import type { LogMode } from './output.ts';

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
  /** The path of forkpoint.config, and its hooks that run here. */
  readonly config: string | null;
  readonly hooks: MonitorHooks;
  /** Where the page, the metrics and the probes are; null for nowhere. */
  readonly admin: PlaceToListen | null;
  readonly manager: ServiceManager;
  readonly logMode: LogMode;
  /** Writes lines of workers, unless they have the server's own streams. */
  readonly write: (stream: 'stdout' | 'stderr', text: string) => void;
  log(level: 'info' | 'warning', text: string): void;
}
