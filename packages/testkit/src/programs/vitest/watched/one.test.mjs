import { said } from 'said';
import { expect, test } from 'vitest';

test('says what the package says', () => {
  process.stdout.write(`said ${said}\n`);
  expect(['first', 'second']).toContain(said);
});
test('another', () => {
  expect('first').toBe('first');
});
