/**
 * Returns NODE_OPTIONS with `--require FILE` behind the user's own options; unchanged when it is there already.
 * Node splits the value at blanks and takes text in double quotes as one word, in which a backslash keeps the next character (src/node_options.cc).
 */
export function withRequire(options: string | undefined, file: string): string {
  const own = options ?? '';
  const added = `--require "${file.replaceAll(/["\\]/g, '\\$&')}"`;
  if (own.includes(added)) return own;
  return own.trim() === '' ? added : `${own} ${added}`;
}

/**
 * Returns LD_PRELOAD with a library behind the user's own ones; unchanged when it is there already.
 * The dynamic linker splits it at colons and blanks and knows no quoting (ld.so(8)), so that the path may hold neither.
 */
export function withPreload(preload: string | undefined, library: string): string {
  const own = (preload ?? '').split(/[:\s]+/).filter(Boolean);
  return own.includes(library) ? own.join(':') : [...own, library].join(':');
}

/** Returns whether a path can stand in LD_PRELOAD; `$` starts a token there. */
export function isPreloadable(path: string): boolean {
  return !/[:\s$]/.test(path);
}

/** Options by which somebody decides about the size of V8's young generation, in either spelling. */
const YOUNG = /--[a-z_-]*(?:semi[_-]space|heap[_-]size|for[_-]size|lite[_-]mode)/;

/**
 * Returns NODE_OPTIONS with a limit for each half of V8's young generation in MiB, behind the user's own options; undefined when
 * the options or the command say something of it themselves, so that nothing is to be changed.
 */
export function withYoungLimit(
  options: string | undefined,
  command: readonly string[],
  mebibytes: number,
): string | undefined {
  const own = options ?? '';
  if ([own, ...command].some((text) => YOUNG.test(text))) return undefined;
  return `${own} --max-semi-space-size=${mebibytes}`.trimStart();
}
