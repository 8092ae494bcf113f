// Random projects, edits and calls of warm ESLint and Prettier beside ordinary ones: output, exit code and files have to be equal.
// Usage: npm run warm-check -- [--projects 100] [--seed N] [--home DIR]; the seed gives the same list each time.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  callTool,
  dice,
  drawCall,
  installInto,
  warmTools,
  writePlugin,
  writeProject,
} from './lib/warm-tools.mjs';
import { dataDirectory, setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const { values } = parseArgs({
  options: {
    projects: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
const [projects, seed] = [Number(values.projects), Number(values.seed)];
const TOOLS = { eslint: ['eslint', '.'], prettier: ['prettier', '--check', '.'] };
/** A package is edited this often, and the images made again after the calls that follow. */
const EDIT_EVERY = 25;

await setup();
const tools = await warmTools(root);
const home = dataDirectory();
const work = mkdtempSync(join(home, 'warm-check-'));
const project = join(work, 'project');
const commands = { eslint: join(home, 'warm/bin/eslint'), prettier: join(home, 'warm/bin/prettier') };
const counts = { warm: 0, cold: 0, wrong: 0 };

function warm(name, ...options) {
  const line =
    options.length > 0 ? options : ['--runs', '4', '--streams', '000', '--', 'npx', ...TOOLS[name]];
  const { status, stderr } = spawnSync(join(root, 'bin/forkpoint'), ['warm', name, ...line], {
    cwd: project,
    env: { ...process.env, FORKPOINT_HOME: home },
    encoding: 'utf8',
  });
  console.log(stderr.trim());
  if (status !== 0) throw new Error(`${name} was not warmed`);
}

/** The same project twice, since a call may change it. */
async function compare(index) {
  const prepare = () => {
    const chosen = dice(seed * 100_003 + index);
    writeProject(project, chosen);
    return chosen;
  };
  const { one, roll } = prepare();
  const call = drawCall(one(['eslint', 'prettier']), { one, roll });
  const ordinary = join(project, 'node_modules/.bin', call.tool);
  const cold = await callTool([ordinary], project, call);
  prepare();
  const { reason, ...warmed } = await callTool([commands[call.tool]], project, call);
  counts[reason === undefined ? 'warm' : 'cold']++;
  for (const key of ['stdout', 'stderr', 'code', 'files']) {
    const [a, b] = [JSON.stringify(cold[key]), JSON.stringify(warmed[key])];
    if (a === b) continue;
    counts.wrong++;
    console.log(
      `project ${index} (seed ${seed}): ${JSON.stringify(call)}: ${key} differs\n  cold ${a.slice(0, 600)}\n  warm ${b.slice(0, 600)}`,
    );
  }
  process.stderr.write(
    `${index}: ${call.tool} ${call.args.join(' ')} cold ${Math.round(cold.tookMs)} warm ${Math.round(warmed.tookMs)} ${reason ?? ''}\n`,
  );
  return reason;
}

try {
  mkdirSync(project, { recursive: true });
  writeProject(project, dice(seed));
  installInto(project, tools);
  for (const name of Object.keys(TOOLS)) warm(name);
  for (let index = 0; index < projects; index++) {
    const isEdited = index % EDIT_EVERY === EDIT_EVERY - 1;
    if (isEdited) writePlugin(project, `edited ${index}`);
    const reason = await compare(index);
    if (reason !== undefined && !isEdited && !/variable/.test(reason))
      console.log(`project ${index}: ${reason}`);
    if (isEdited) warm('eslint', '--refresh', '--streams', '000');
  }
} finally {
  for (const name of Object.keys(TOOLS))
    spawnSync(join(root, 'bin/forkpoint'), ['warm', name, '--remove'], {
      env: { ...process.env, FORKPOINT_HOME: home },
    });
  rmSync(work, { recursive: true, force: true });
}
console.log(
  `${projects} projects, seed ${seed}: ${counts.warm} answers from an image, ${counts.cold} ordinary ones, ${counts.wrong} differences`,
);
process.exitCode = counts.wrong === 0 && counts.warm > 0 ? 0 : 1;
