import type { ImportId, Unfit } from '../messages.ts';
import type { Stamp } from '../stamps.ts';
import type { OwnPreload } from './call.ts';

/** What a mold is told, as JSON in the file that its only argument names. */
export interface MoldOrder {
  readonly imports: readonly ImportId[];
  /** What each fork loads itself before its file. */
  readonly later: readonly OwnPreload[];
  /** Options of node as the test runner gives them, which the program sees. */
  readonly flags: readonly string[];
  /** Directory of the image. */
  readonly image: string;
  /** Receives a MoldRecord. */
  readonly record: string;
  /** The files that count besides those which are loaded as modules. */
  readonly files: readonly string[];
}

/** What is known of a mold; lies beside its image. */
export interface MoldRecord {
  readonly v: number;
  readonly isLasting: boolean;
  readonly imports: readonly ImportId[];
  readonly unfit: readonly Unfit[];
  readonly stamps: readonly Stamp[];
}

/** The exit code of a mold that was spoilt by an import. */
export const UNFIT_CODE = 77;
export const FORMAT = 1;

/** Reads a record; undefined for everything that this version has not written. */
export function decodeRecord(text: string): MoldRecord | undefined {
  try {
    const record = JSON.parse(text) as MoldRecord;
    return record.v === FORMAT ? record : undefined;
  } catch {
    return undefined;
  }
}
