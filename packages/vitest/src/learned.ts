import type { ImportId, Unfit } from './messages.ts';

/** What is known of a project's imports. */
export interface Learned {
  /** Per test file what it imported past Vitest when it ran last, in its order. */
  readonly files: ReadonlyMap<string, readonly ImportId[]>;
  /** What no mold may import. */
  readonly unfit: ReadonlyMap<ImportId, Unfit>;
}

const FORMAT = 1;
/** Files that are remembered; the oldest go first. */
const FILES_MAX = 5000;

export const NOTHING: Learned = { files: new Map(), unfit: new Map() };

/** Returns what a mold shall import: what at least two files import, or all that the only one does. Pure. */
export function choose(
  { files, unfit }: Learned,
  isWanted: (id: ImportId) => boolean = () => true,
): ImportId[] {
  const counts = new Map<ImportId, number>();
  for (const ids of files.values()) for (const id of new Set(ids)) counts.set(id, (counts.get(id) ?? 0) + 1);
  const least = Math.min(2, files.size);
  const chosen = new Set<ImportId>();
  const add = (id: ImportId): void => {
    const known = unfit.get(id);
    if (chosen.has(id) || seen.has(id) || !isWanted(id)) return;
    seen.add(id);
    if (known === undefined) chosen.add(id);
    else for (const other of known.instead) add(other);
  };
  const seen = new Set<ImportId>();
  for (const [id, count] of counts) if (count >= least) add(id);
  return [...chosen];
}

/** Returns what is known after a file has run. */
export function withFile(learned: Learned, file: string, imports: readonly ImportId[]): Learned {
  const files = new Map(learned.files);
  files.delete(file);
  files.set(file, imports);
  for (const [oldest] of files) {
    if (files.size <= FILES_MAX) break;
    files.delete(oldest);
  }
  return { ...learned, files };
}

/** Returns what is known after a mold could not take some imports. */
export function withUnfit(learned: Learned, unfit: readonly Unfit[]): Learned {
  return { ...learned, unfit: new Map([...learned.unfit, ...unfit.map((one) => [one.id, one] as const)]) };
}

/** Returns it as text. */
export function encodeLearned({ files, unfit }: Learned): string {
  return JSON.stringify({ v: FORMAT, files: [...files], unfit: [...unfit.values()] });
}

/** Reads it; whatever is not understood counts as nothing known. */
export function decodeLearned(text: string): Learned {
  try {
    const value = JSON.parse(text) as { v?: unknown; files?: unknown; unfit?: unknown };
    if (value.v !== FORMAT || !Array.isArray(value.files) || !Array.isArray(value.unfit)) return NOTHING;
    const files = value.files.filter(isFile);
    const unfit = value.unfit.filter(isUnfit);
    return { files: new Map(files), unfit: new Map(unfit.map((one) => [one.id, one])) };
  } catch {
    return NOTHING;
  }
}

function isFile(one: unknown): one is [string, string[]] {
  return Array.isArray(one) && typeof one[0] === 'string' && isTexts(one[1]);
}

function isUnfit(one: unknown): one is Unfit {
  if (typeof one !== 'object' || one === null) return false;
  const { id, why, instead } = one as Record<string, unknown>;
  return typeof id === 'string' && typeof why === 'string' && isTexts(instead);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}
