// The smallest size of the restore benchmark, for the tests. Usage: node bench/smoke.mjs DATA_DIRECTORY
import { reportRestore } from './report.mjs';
import { benchRestore } from './restore.mjs';

const home = process.argv[2];
try {
  console.log(reportRestore(await benchRestore({ home, size: 'smoke' })));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
