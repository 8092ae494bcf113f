import { forkpoint } from 'forkpoint/vitest';
import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { pool: process.env.ORDINARY === '1' ? 'forks' : forkpoint() } });
