import { readFileSync } from 'node:fs';

/** How a restored command line was called. */
export interface Given {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly umask: number;
}

/** Reads what the launcher hands over: strings that end in NUL, in the format of a plan (ARCHITECTURE.md, Plans). Throws what the file system throws. */
export function readGiven(path: string): Given {
  const strings = readFileSync(path, 'utf8').split('\0');
  const records = new Map<string, string[]>();
  for (let at = 0; at < strings.length - 1;) {
    const [key = '', count = '0'] = (strings[at] ?? '').split(':');
    records.set(key, strings.slice(at + 1, at + 1 + Number(count)));
    at += 1 + Number(count);
  }
  const env: Record<string, string> = {};
  for (const pair of records.get('env') ?? []) {
    const equals = pair.indexOf('=');
    if (equals > 0) env[pair.slice(0, equals)] ??= pair.slice(equals + 1);
  }
  const [cwd = '/'] = records.get('cwd') ?? [];
  const [umask = '022'] = records.get('umask') ?? [];
  return { args: records.get('arg') ?? [], env, cwd, umask: Number.parseInt(umask, 8) };
}
