// Carries out one operation on a store while its file operations fail (store-walk.ts), and says as JSON what became of it.
// Usage: store-steps WORK OPERATION LAUNCHER ADDON, with FAULT_KIND and FAULT_AT. An error goes on from step to step by itself,
// with every check after each, to every one that is FAULT_STRIDE further; for `kill` it is started for each, and whoever starts it checks.
import { existsSync, rmSync } from 'node:fs';
import { check, prepare } from './store-walk.ts';

const [work = '', operation = '', launcher = '', addon = ''] = process.argv.slice(2);
const walk = { work, launcher, addon };
const log = process.env['FAULT_LOG'] ?? '';
const first = process.env['FAULT_AT'] ?? '1';
const isKill = process.env['FAULT_KIND'] === 'kill';
delete process.env['FAULT_AT'];
let steps = 0;
const told = new Set<string>();

const stride = Number(process.env['FAULT_STRIDE'] ?? '1');
for (let at = Number(first); at < 10_000; at += stride) {
  const run = await prepare(operation, walk);
  process.env['FAULT_AT'] = String(at);
  try {
    await run();
  } catch (error) {
    told.add(error instanceof Error ? error.message.replaceAll(work, '') : String(error));
  }
  delete process.env['FAULT_AT'];
  // Whoever was to be killed is alive: there is no such step.
  const isOver = isKill || !existsSync(log);
  rmSync(log, { force: true });
  if (isOver) break;
  steps++;
  try {
    await check(operation, walk);
  } catch (cause) {
    throw new Error(`${operation}, ${process.env['FAULT_KIND']} at operation ${at}`, { cause });
  }
}
console.log(JSON.stringify({ steps, told: [...told] }));
