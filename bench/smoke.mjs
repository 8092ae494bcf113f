// The smallest size of a benchmark, for the tests. Usage: node bench/smoke.mjs restore|image DATA_DIRECTORY
import { reportImage } from './image-report.mjs';
import { benchImage } from './image.mjs';
import { reportRestore } from './report.mjs';
import { benchRestore } from './restore.mjs';

const [name, home] = process.argv.slice(2);
const [measure, report] = name === 'image' ? [benchImage, reportImage] : [benchRestore, reportRestore];
try {
  console.log(report(await measure({ home, size: 'smoke' })));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
