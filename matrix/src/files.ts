import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '@forkpoint/testkit';
import { ask } from './client.ts';
import type { Target } from './family.ts';

const LIMIT_MS = 15_000;
let marks = 0;

/** The marks that each directory's logs must hold, in the order in which they were written. */
const expected = new Map<string, string[]>();

/** Has the program log a mark, and rejects unless all its logs hold this and every earlier mark, of whichever instance, in whole lines. */
export async function loggedMarks(target: Target, logs: readonly string[]): Promise<void> {
  const mark = `${target.label.replaceAll(' ', '-')}-${++marks}`;
  const wanted = expected.get(target.data) ?? [];
  expected.set(target.data, wanted);
  await ask(target.port, `/log?mark=${mark}`);
  wanted.push(mark);
  for (const log of logs) {
    const path = join(target.data, log);
    await eventually(
      () => (readFileSync(path, 'utf8').includes(`"${mark}"`) ? true : undefined),
      `${mark} in ${log}`,
      LIMIT_MS,
    );
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    const found = new Set(lines.map((line) => (JSON.parse(line) as { mark?: string }).mark));
    const missing = wanted
      .filter((one) => one.startsWith('original') || one === mark)
      .filter((one) => !found.has(one));
    if (missing.length > 0) throw new Error(`${log} lacks ${missing.join(', ')}`);
  }
}

/** Changes a source, and rejects unless the watching compiler writes the new result and says that it found no errors. */
export async function watchedCompile(target: Target): Promise<void> {
  const done = (): number => readFileSync(target.output, 'utf8').split('Found 0 errors').length;
  await eventually(
    () => (done() > 1 || target.label !== 'original' ? true : undefined),
    'the first compilation',
    30_000,
  );
  const before = done();
  const value = ++marks;
  writeFileSync(join(target.data, 'src/main.ts'), `export const first: number = ${value};\n`);
  const output = join(target.data, 'out/main.js');
  await eventually(
    () => (done() > before && readFileSync(output, 'utf8').includes(`first = ${value};`) ? true : undefined),
    `compiling change ${value}`,
    LIMIT_MS,
  );
}
