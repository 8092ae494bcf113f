import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { StoreError } from './error.ts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** Returns a new random run or image id of 12 hex digits. */
export function newId(): string {
  return randomBytes(6).toString('hex');
}

/** Returns whether the text is a run or image id. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{12}$/.test(text);
}

/** Returns the name; throws ERR_FORKPOINT_NAME unless it is 1 to 100 letters, digits, dots, dashes and underscores. */
export function checkName(name: string): string {
  if (NAME.test(name)) return name;
  throw new StoreError('ERR_FORKPOINT_NAME', `${JSON.stringify(name.slice(0, 120))} is not a name`, {
    hint: 'A name has up to 100 letters, digits, dots, dashes and underscores, and starts with a letter or digit',
  });
}

/** Returns a name for a command that is not taken: the script's name without its extension, else the program's. */
export function defaultName(command: readonly string[], taken: ReadonlySet<string>): string {
  const base = baseName(command);
  if (!taken.has(base)) return base;
  for (let number = 2; ; number += 1) if (!taken.has(`${base}-${number}`)) return `${base}-${number}`;
}

function baseName(command: readonly string[]): string {
  const [program = '', ...rest] = command;
  // An interpreter says little; the first argument that looks like a script says what runs.
  const isInterpreter = /^(node|nodejs|python[0-9.]*|ruby|jruby|java|perl|php|deno|bun|sh|bash|dash)$/.test(
    basename(program),
  );
  const script = isInterpreter ? rest.find((arg) => !arg.startsWith('-')) : undefined;
  const file = basename(script ?? program);
  const stem = file.replace(/\.(mjs|cjs|js|mts|cts|ts|py|rb|jar|pl|php|sh)$/, '');
  const clean = stem
    .replaceAll(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 80);
  return clean === '' ? 'program' : clean;
}
