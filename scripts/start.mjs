// All set-up, then a tour of the main job. Usage: npm start
import { dataDirectory, setup } from './setup.mjs';

await setup();
// What the tour imports is there only now.
const { tour } = await import('./tour/tour.mjs');
process.exitCode = await tour(dataDirectory());
