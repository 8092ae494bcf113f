import { digest64 } from './places.ts';

/**
 * Variables that decide how Node, V8, libc or nearly every tool behaves while it is loaded, by the beginnings of their names. An
 * image is used only where all that begin like this are as they were.
 */
export const PREFIXES: readonly string[] = [
  'NODE_',
  'DEBUG',
  'debug_',
  'LD_',
  'LC_',
  'MALLOC_',
  'GLIBC_',
  'SSL_',
  'OPENSSL_',
  'UV_',
  'ICU_',
  'TSC_',
];
/** The same by their whole names. */
export const NAMES: readonly string[] = [
  'LANG',
  'LANGUAGE',
  'TZ',
  'HOME',
  'TMPDIR',
  'TEMP',
  'TMP',
  'CI',
  'TERM',
  'COLORTERM',
  'NO_COLOR',
  'FORCE_COLOR',
  'CLICOLOR',
  'CLICOLOR_FORCE',
  'UV_THREADPOOL_SIZE',
];
/** Variables that differ between any two calls: they are left out of a copy of the whole environment. */
const VOLATILE = /^(_|PWD|OLDPWD|SHLVL|COLUMNS|LINES|FORKPOINT_.*)$/;

type Environment = Readonly<Record<string, string | undefined>>;

/** Returns the digest of a variable's value, `-` for none. */
export function valueDigest(value: string | undefined): string {
  return value === undefined ? '-' : digest64(value);
}

/** Returns the digest of all variables whose names begin with `prefix`. */
export function prefixDigest(env: Environment, prefix: string): string {
  const pairs = Object.entries(env)
    .filter(([name, value]) => name.startsWith(prefix) && value !== undefined)
    .map(([name, value]) => Buffer.from(`${name}=${value}\0`));
  return digest64(Buffer.concat(pairs.sort((one, other) => Buffer.compare(one, other))));
}

/** Returns the names of the variables that an image depends on. */
export function namesOf(env: Environment, read: readonly string[], isCopied: boolean): string[] {
  const all = isCopied ? Object.keys(env).filter((name) => !VOLATILE.test(name)) : [];
  const wanted = new Set([...NAMES, ...read.filter((name) => !VOLATILE.test(name)), ...all]);
  return [...wanted].filter((name) => !PREFIXES.some((prefix) => name.startsWith(prefix)));
}
