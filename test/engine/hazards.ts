import assert from 'node:assert/strict';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findCompiler } from '@forkpoint/engine';
import { programPath, runToEnd } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';

const SOURCES = ['hazards.c', 'policy.c', 'memory.c', 'allocators.c', 'kernel.c'].map((name) =>
  programPath(`c/${name}`),
);
/** These change what the other cases rely on: the heap of malloc(3), and the arguments. */
export const APART = ['brk', 'arguments'];

/** Returns the names of the cases, from the tables in the sources. */
export function hazardNames(): string[] {
  return SOURCES.flatMap((source) =>
    [...readFileSync(source, 'utf8').matchAll(/^ {4}\{"([a-z-]+)", /gm)].map((match) => String(match[1])),
  );
}

/** Builds the program; dynamically linked, so that the shim can be preloaded, unless flags say otherwise. */
export async function buildHazards(
  person: Person,
  name: string,
  flags: readonly string[] = [],
): Promise<string> {
  const program = join(person.scratch, name);
  const words = ['-std=gnu11', '-O1', '-pthread', ...flags, '-o', program, ...SOURCES, '-lutil'];
  const built = await runToEnd(['cc', ...words]).catch(() => null);
  if (built?.code !== 0) {
    const options = { env: process.env, log: () => undefined, signal: undefined };
    const compiler = await findCompiler(process.env['FORKPOINT_TEST_ENGINE'] ?? '', 'auto', options);
    const again = await runToEnd(compiler.executable(SOURCES, program, flags.includes('-static')));
    assert.equal(again.code, 0, `${built?.stderr}${again.stderr}`);
  }
  chmodSync(program, 0o755);
  return program;
}
