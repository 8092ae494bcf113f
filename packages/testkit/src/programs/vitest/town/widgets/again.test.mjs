import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Clock } from './clock.mjs';

customElements.define('a-clock', Clock);
beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test('a widget counts', () => {
  document.body.innerHTML = '<a-clock></a-clock>';
  vi.advanceTimersByTime(5000);
  expect(document.querySelector('a-clock').textContent).toBe('5');
  expect(window.happyDOM).toBeDefined();
});
