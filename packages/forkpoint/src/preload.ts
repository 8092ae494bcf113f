import { start } from '@forkpoint/core';

// Loaded by `node --require` before the program, in every thread; bundled to CommonJS, hence __filename.
start(__filename);
