import { afterEach, expect } from 'vitest';

globalThis.setups = (globalThis.setups ?? 0) + 1;
expect.extend({
  toCost(received, cents) {
    return {
      pass: received === `${(cents / 100).toFixed(2)} EUR`,
      message: () => `${received} is not ${cents} cents`,
    };
  },
});
afterEach(() => {
  globalThis.last = 'after';
});
