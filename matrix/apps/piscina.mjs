import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { serve } from './plain.cjs';

const pool = new Piscina({
  filename: fileURLToPath(new URL('piscina-task.mjs', import.meta.url)),
  minThreads: 2,
  maxThreads: 2,
});
serve({
  '/square': async (query) => ({ square: await pool.run(Number(query.get('of'))) }),
  '/worker-random': () => pool.run(null),
});
