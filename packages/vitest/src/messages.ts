/** A module that Vitest leaves to Node.js, as its module runner names it: a file URL or the name of a builtin. */
export type ImportId = string;

/** From the pool to a mold or a clone; everything without `forkpoint` is Vitest's own. */
export type ToInside =
  | {
      readonly forkpoint: 'preload';
      readonly imports: readonly ImportId[];
      readonly forced: readonly ImportId[];
      readonly hasGlobals: boolean;
      readonly rehearses: boolean;
    }
  | { readonly forkpoint: 'freeze'; readonly image: string }
  | { readonly forkpoint: 'begin'; readonly env: Readonly<Record<string, string>> };

/** What became of the imports of a mold. */
export interface Preloaded {
  /** Those that can be shared. */
  readonly imports: readonly ImportId[];
  /** Those that cannot, each with the reason and what of other packages it loads; the mold is spoilt by them. */
  readonly unfit: readonly Unfit[];
  /** Absolute paths of all files that were loaded as modules. */
  readonly files: readonly string[];
  /** False when the list lacks ECMAScript modules. */
  readonly hasAllFiles: boolean;
}

/** An import that no mold may have made. */
export interface Unfit {
  readonly id: ImportId;
  readonly why: string;
  readonly instead: readonly ImportId[];
}

/** From a mold or a clone to the pool. */
export type FromInside =
  | { readonly forkpoint: 'hello'; readonly token: string }
  | ({ readonly forkpoint: 'preloaded' } & Preloaded)
  | { readonly forkpoint: 'failed'; readonly message: string; readonly isRehearsal: boolean }
  | { readonly forkpoint: 'imported'; readonly imports: readonly ImportId[] };

/** Returns what a mold or a clone told us; undefined for a message of Vitest. Both ends are this package, of one version. */
export function fromInside(value: unknown): FromInside | undefined {
  return isOurs(value) ? (value as FromInside) : undefined;
}

/** Returns what the pool asks a mold or a clone for; undefined for a message of Vitest. */
export function toInside(value: unknown): ToInside | undefined {
  return isOurs(value) ? (value as ToInside) : undefined;
}

function isOurs(value: unknown): value is object {
  return typeof value === 'object' && value !== null && 'forkpoint' in value;
}
