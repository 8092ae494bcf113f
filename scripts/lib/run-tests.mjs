// Runs test files, a process each, the longest first: `node --test` would take them by name, and the last one would run alone.
// Usage: node --test-timeout=MS run-tests.mjs CONCURRENCY TAP_FILE PATTERN...; files get the options that this one was started with.
import { createWriteStream, globSync } from 'node:fs';
import { resolve } from 'node:path';
import { run } from 'node:test';
import { spec, tap } from 'node:test/reporters';
import { longestFirst } from './test-order.mjs';

const [concurrency, report, ...patterns] = process.argv.slice(2);
const files = longestFirst(globSync(patterns));
if (files.length === 0) throw new Error(`no file is called ${patterns.join(' or ')}`);
const results = run({ files: files.map((file) => resolve(file)), concurrency: Number(concurrency) });
results.on('test:fail', ({ todo, skip }) => {
  if (todo === undefined && skip === undefined) process.exitCode = 1;
});
results.compose(new spec()).pipe(process.stdout);
results.compose(tap).pipe(createWriteStream(report));
