// Makes sure that there is a browser for the test of the live page. Run by scripts/setup.mjs with a Node that knows TypeScript; a
// second call does nothing.
import { findBrowser } from './lib/browser.ts';

await findBrowser();
