import { readFileSync } from 'node:fs';
import { errorCode } from './error.ts';

/** One thing that was looked at. `hint`, present when it is not well, says in one line what to do. */
export interface DoctorRow {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly hint?: string;
}

/** Returns a row; the hint is kept only when the row is not well. */
export function row(name: string, ok: boolean, detail: string, hint?: string): DoctorRow {
  return ok || hint === undefined ? { name, ok, detail } : { name, ok, detail, hint };
}

/** Returns the trimmed text of a file of /proc or /sys; null when it does not exist or may not be read. */
export function readProc(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
      .slice(0, 1 << 20)
      .trim();
  } catch (error) {
    if (['ENOENT', 'EACCES', 'EPERM', 'ENOTDIR', 'EINVAL'].includes(errorCode(error))) return null;
    throw error;
  }
}
