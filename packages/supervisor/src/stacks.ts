import { join } from 'node:path';
import type { Resource } from '@forkpoint/manifest';
import { readText } from './proc.ts';

const STACK_MAX = 2000;

/**
 * Adds to findings about descriptors the stacks that opened them, which members write to `members/<pid>/resources.json`
 * under `forkpoint run --trace-resources`.
 */
export function withStacks(findings: readonly Resource[], controlDirectory: string): Resource[] {
  return findings.map((finding) => {
    if (finding.pid === undefined || finding.fd === undefined) return finding;
    const stack = stackOf(
      join(controlDirectory, 'members', String(finding.pid), 'resources.json'),
      finding.fd,
    );
    return stack === undefined ? finding : { ...finding, stack };
  });
}

function stackOf(path: string, fd: number): string | undefined {
  const text = readText(path);
  if (text === null) return undefined;
  try {
    const stacks: unknown = JSON.parse(text);
    const stack: unknown =
      typeof stacks === 'object' && stacks !== null ? Reflect.get(stacks, String(fd)) : undefined;
    return typeof stack === 'string' && stack !== '' ? stack.slice(0, STACK_MAX) : undefined;
  } catch {
    // The program has written something else there; the finding stands without it.
    return undefined;
  }
}
