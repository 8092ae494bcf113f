// All set-up, then a tour of the main job. Usage: npm start
import { setup } from './setup.mjs';

await setup();
const { tour } = await import('./tour/tour.mjs');
process.exitCode = await tour();
