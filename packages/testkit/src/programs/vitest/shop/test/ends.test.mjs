import { expect, test } from 'vitest';

test('exit is caught', () => {
  process.exit(3);
});
test('an error that nobody waits for', async () => {
  setTimeout(() => {
    throw new RangeError('out of a timer');
  }, 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(1).toBe(1);
});
