/** Thrown inside this package by a check; the caller turns it into its own error. */
export class CheckFailure extends Error {}

/** Turns an unknown value into a typed one or throws a CheckFailure that names the place. */
export type Check<T> = (value: unknown, where: string) => T;

/** The type that a check returns. */
export type Checked<C> = C extends Check<infer T> ? T : never;

const refuse = (where: string, problem: string): never => {
  throw new CheckFailure(`${where} ${problem}`);
};

/** Returns a check for a string of at most `max` UTF-16 units without NUL that matches the pattern. */
export function text(max: number, pattern?: RegExp): Check<string> {
  return (value, where) => {
    if (typeof value !== 'string') return refuse(where, 'is not a string');
    if (value.length > max) return refuse(where, `is longer than ${max} characters`);
    if (value.includes('\0')) return refuse(where, 'contains a NUL character');
    if (pattern !== undefined && !pattern.test(value)) return refuse(where, 'is malformed');
    return value;
  };
}

/** Returns a check for a whole number within bounds. */
export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Check<number> {
  return (value, where) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value))
      return refuse(where, 'is not a whole number');
    if (value < min || value > max) return refuse(where, `is not between ${min} and ${max}`);
    return value;
  };
}

/** Accepts `true` and `false`. */
export const flag: Check<boolean> = (value, where) =>
  typeof value === 'boolean' ? value : refuse(where, 'is not true or false');

/** Returns a check for one of a closed set of strings or numbers. */
export function oneOf<const T extends string | number>(...choices: readonly T[]): Check<T> {
  return (value, where) => {
    const found = choices.find((choice) => choice === value);
    return found ?? refuse(where, `is not one of ${choices.join(', ')}`);
  };
}

/** Returns a check that also accepts null. */
export function nullable<T>(check: Check<T>): Check<T | null> {
  return (value, where) => (value === null ? null : check(value, where));
}

/** Returns a check for a list of at most `max` items. */
export function list<T>(check: Check<T>, max: number): Check<T[]> {
  return (value, where) => {
    if (!Array.isArray(value)) return refuse(where, 'is not a list');
    if (value.length > max) return refuse(where, `has more than ${max} items`);
    return value.map((item: unknown, index) => check(item, `${where}[${index}]`));
  };
}

/** Returns a check for an object used as a dictionary of at most `max` entries. */
export function dictionary<T>(check: Check<T>, max: number, key: RegExp): Check<Record<string, T>> {
  return (value, where) => {
    const entries = Object.entries(plainObject(value, where));
    if (entries.length > max) return refuse(where, `has more than ${max} entries`);
    return Object.fromEntries(
      entries.map(([name, item]) => {
        // These three names would reach an object's prototype in a careless reader further on.
        if (!key.test(name) || name === '__proto__' || name === 'constructor' || name === 'prototype') {
          return refuse(where, `has the forbidden name ${JSON.stringify(name.slice(0, 60))}`);
        }
        return [name, check(item, `${where}.${name}`)];
      }),
    );
  };
}

/** Checks of the fields of an object that must be there. */
export type Fields = Readonly<Record<string, Check<unknown>>>;

/** The object type that a set of field checks describes. */
export type Shape<F extends Fields> = { readonly [K in keyof F]: Checked<F[K]> };

/** Returns a check for an object with these own fields; other fields are dropped. */
export function object<F extends Fields>(fields: F): Check<Shape<F>> {
  const checks = Object.entries(fields);
  return (value, where) => {
    const source = plainObject(value, where);
    const prefix = where === '' ? '' : `${where}.`;
    // A loop: an index of a thousand images has some twenty thousand fields.
    const result: Record<string, unknown> = {};
    for (const [name, check] of checks) {
      if (!Object.hasOwn(source, name)) return refuse(`${prefix}${name}`, 'is missing');
      result[name] = check(source[name], `${prefix}${name}`);
    }
    return result as Shape<F>;
  };
}

/** Returns a check for an object whose listed fields may each be absent; other fields are dropped. */
export function partial<F extends Fields>(fields: F): Check<Partial<Shape<F>>> {
  return (value, where) => {
    const source = plainObject(value, where);
    const prefix = where === '' ? '' : `${where}.`;
    const entries = Object.entries(fields)
      .filter(([name]) => Object.hasOwn(source, name))
      .map(([name, check]) => [name, check(source[name], `${prefix}${name}`)]);
    return Object.fromEntries(entries) as Partial<Shape<F>>;
  };
}

/** Returns the value as an object with unknown fields; throws a CheckFailure for lists, null and primitives. */
export function plainObject(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse(where === '' ? 'the whole' : where, 'is not an object');
  }
  return value as Record<string, unknown>;
}
