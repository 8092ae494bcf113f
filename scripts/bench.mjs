// Benchmarks. Usage: npm run bench -- NAME [--size smoke|quick|full] [--part PART,...] [--json FILE]; notes: bench/NOTES.md.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { benchLanguages, reportLanguages } from '../bench/languages.mjs';
import { benchChain, reportChain } from '../bench/chain.mjs';
import { benchCold, reportCold } from '../bench/cold.mjs';
import { reportFork } from '../bench/fork-report.mjs';
import { benchFork } from '../bench/fork.mjs';
import { reportImage } from '../bench/image-report.mjs';
import { benchImage } from '../bench/image.mjs';
import { reportLoad } from '../bench/load-report.mjs';
import { benchLoad } from '../bench/load.mjs';
import { reportRestore } from '../bench/report.mjs';
import { benchRestore } from '../bench/restore.mjs';
import { reportServe } from '../bench/serve-report.mjs';
import { benchServe } from '../bench/serve.mjs';
import { benchStore, reportStore } from '../bench/store.mjs';
import { benchTests, reportTests } from '../bench/tests.mjs';
import { benchWarm, reportWarm } from '../bench/warm.mjs';
import { dataDirectory, setup } from './setup.mjs';

const BENCHMARKS = {
  restore: [benchRestore, reportRestore],
  image: [benchImage, reportImage],
  languages: [benchLanguages, reportLanguages],
  chain: [benchChain, reportChain],
  cold: [benchCold, reportCold],
  load: [benchLoad, reportLoad],
  fork: [benchFork, reportFork],
  serve: [benchServe, reportServe],
  store: [benchStore, reportStore],
  warm: [benchWarm, reportWarm],
  tests: [benchTests, reportTests],
};
const SIZES = ['smoke', 'quick', 'full'];

function usage(message) {
  console.error(
    `Error: ${message}\nUsage: npm run bench -- NAME [--size ${SIZES.join('|')}] [--part PART,...] [--json FILE]\nNames: ${Object.keys(BENCHMARKS).join(', ')}`,
  );
  process.exit(2);
}

function arguments_() {
  try {
    const options = {
      size: { type: 'string', default: 'quick' },
      json: { type: 'string' },
      part: { type: 'string' },
    };
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    if (positionals.length !== 1 || !Object.hasOwn(BENCHMARKS, positionals[0]))
      usage(`one benchmark has to be named`);
    if (values.part !== undefined && !['image', 'fork', 'serve', 'tests'].includes(positionals[0]))
      usage(`${positionals[0]} has no parts`);
    if (!SIZES.includes(values.size)) usage(`there is no size ${values.size}`);
    return { ...values, name: positionals[0] };
  } catch (error) {
    return usage(error.message);
  }
}

const { name, size, json, part } = arguments_();
const [measure, report] = BENCHMARKS[name];
const NEEDS = { languages: { runtimes: true, languages: true }, tests: { runtimes: true } };
await setup(NEEDS[name] ?? {});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(130));
try {
  const progress = (text) => process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : '');
  const result = await measure({ home: dataDirectory(), size, part, progress });
  progress('');
  console.log(report(result));
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(result, null, 2)}\n`);
} catch (error) {
  console.error(`Error: ${error.message}`);
  // A child or a socket may be left; the exit ends them.
  process.exit(1);
}
