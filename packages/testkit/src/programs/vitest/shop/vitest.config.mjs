import { forkpoint } from 'forkpoint/vitest';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  cacheDir: '.cache',
  test: {
    pool: process.env.ORDINARY === '1' ? 'forks' : forkpoint(),
    setupFiles: ['./test/setup.mjs'],
    globalSetup: ['./test/global.mjs'],
    include: ['test/*.test.{mjs,ts}'],
  },
});
