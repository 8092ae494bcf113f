import { describe, expect, inject, test } from 'vitest';
import { price } from '../src/price.mjs';

describe('prices', () => {
  test('have two digits', () => {
    expect(price(1250)).toBe('12.50 EUR');
    expect(price(5)).toCost(5);
  });
  test('match a snapshot', () => {
    expect([1, 20, 300].map(price)).toMatchSnapshot();
    expect(price(9)).toMatchInlineSnapshot(`"0.09 EUR"`);
  });
  test('are wrong here', () => {
    expect(price(100)).toBe('2.00 EUR');
  });
  test('are thrown out', () => {
    price(1.5);
  });
  test.skip('are not looked at', () => undefined);
  test.todo('are in dollars');
  test('know of the global set-up', () => {
    expect(inject('shop')).toEqual({ town: 'Ghent' });
    expect(process.env.FROM_GLOBAL_SETUP).toBe('yes');
    expect(process.env.VITEST_POOL_ID).toMatch(/^\d+$/);
    expect(globalThis.setups).toBe(1);
  });
});
