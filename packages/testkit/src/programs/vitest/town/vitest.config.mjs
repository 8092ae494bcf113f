import { forkpoint } from 'forkpoint/vitest';
import { defineConfig } from 'vitest/config';

const pool = process.env.ORDINARY === '1' ? 'forks' : forkpoint();
export default defineConfig({
  cacheDir: '.cache',
  test: {
    pool,
    coverage: { reporter: ['json'], include: ['board/*.mjs', 'widgets/*.mjs'] },
    projects: [
      {
        oxc: { jsx: { runtime: 'automatic' } },
        test: {
          name: 'board',
          pool,
          root: './board',
          include: ['*.test.*'],
          environment: 'jsdom',
          globals: true,
          setupFiles: ['./setup.mjs'],
        },
      },
      {
        test: { name: 'widgets', pool, root: './widgets', include: ['*.test.*'], environment: 'happy-dom' },
      },
      { test: { name: 'leaks', pool, root: './leaks', include: ['*.test.*'], env: { TOWN: 'Ghent' } } },
    ],
  },
});
