// The smallest size of a benchmark, for the tests. Usage: node bench/smoke.mjs NAME DATA_DIRECTORY
import { benchChain, reportChain } from './chain.mjs';
import { benchCold, reportCold } from './cold.mjs';
import { reportFork } from './fork-report.mjs';
import { benchFork } from './fork.mjs';
import { reportImage } from './image-report.mjs';
import { benchImage } from './image.mjs';
import { reportLoad } from './load-report.mjs';
import { benchLoad } from './load.mjs';
import { reportRestore } from './report.mjs';
import { benchRestore } from './restore.mjs';
import { reportServe } from './serve-report.mjs';
import { benchServe } from './serve.mjs';
import { benchStore, reportStore } from './store.mjs';
import { benchTests, reportTests } from './tests.mjs';
import { benchWarm, reportWarm } from './warm.mjs';

const [name, home] = process.argv.slice(2);
const BENCHMARKS = {
  restore: [benchRestore, reportRestore],
  image: [benchImage, reportImage],
  chain: [benchChain, reportChain],
  cold: [benchCold, reportCold],
  load: [benchLoad, reportLoad],
  fork: [benchFork, reportFork],
  serve: [benchServe, reportServe],
  store: [benchStore, reportStore],
  tests: [benchTests, reportTests],
  warm: [benchWarm, reportWarm],
};
const [measure, report] = BENCHMARKS[name];
try {
  console.log(report(await measure({ home, size: 'smoke' })));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
