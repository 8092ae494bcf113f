import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ownerOf } from '@forkpoint/store';
import { bytesText } from './format.ts';

/**
 * Returns a function that says how much of a run's image lies in `directory` by now and how fast it grows: `12 MB, 210 MB/s,`, or
 * nothing while there is none. The run's worker writes it, in a directory beside the destination that has the run's id in its name.
 * What the image has in common with others is not written, and does not count. Never throws.
 */
export function writtenBy(runId: string, directory: string, now: () => number = Date.now): () => string {
  let first: { readonly atMs: number; readonly bytes: number } | undefined;
  return () => {
    const bytes = bytesOfDraft(runId, directory);
    if (bytes === 0) return '';
    first ??= { atMs: now(), bytes };
    const seconds = (now() - first.atMs) / 1000;
    const rate = seconds > 0 ? ` ${bytesText((bytes - first.bytes) / seconds)}/s,` : '';
    return `${bytesText(bytes)},${rate}`;
  };
}

function bytesOfDraft(runId: string, directory: string): number {
  try {
    const draft = readdirSync(directory).find((name) => ownerOf(name) === runId);
    if (draft === undefined) return 0;
    const path = join(directory, draft);
    return readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => statSync(join(entry.parentPath, entry.name)))
      .reduce((sum, { nlink, size }) => sum + (nlink === 1 ? size : 0), 0);
  } catch {
    // The directory is not there yet, or was put in its place in between.
    return 0;
  }
}
