// Loaded before each test file (`--import`): what Node.js makes of TypeScript is kept from one file and run to the next. Not by
// NODE_COMPILE_CACHE, which programs under test would inherit.
import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

enableCompileCache(fileURLToPath(new URL('../../.forkpoint/compile-cache', import.meta.url)));
