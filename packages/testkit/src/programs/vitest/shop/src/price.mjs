export function price(cents) {
  if (!Number.isInteger(cents)) throw new TypeError(`${cents} is not a whole number of cents`);
  return `${(cents / 100).toFixed(2)} EUR`;
}
