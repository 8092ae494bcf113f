type Class = abstract new (...args: never[]) => object;

const argumentsOf = new WeakMap<object, unknown[]>();

/** Returns whether a value can be called with `new`. */
export function isClass(value: unknown): value is Class & Record<string, unknown> {
  return typeof value === 'function' && typeof value.prototype === 'object' && value.prototype !== null;
}

/**
 * Returns a class that is `target` in every respect and tells of each object that is made, with the arguments. Classes that
 * are derived from it tell as well.
 */
export function observed<T extends Class>(target: T, made: (object: object) => void): T {
  const proxy = new Proxy(target, {
    construct(own, args: unknown[], newTarget): object {
      const object = Reflect.construct(own, args, newTarget) as object;
      argumentsOf.set(object, args);
      made(object);
      return object;
    },
  });
  Object.defineProperty(target.prototype, 'constructor', {
    value: proxy,
    configurable: true,
    writable: true,
  });
  return proxy;
}

/**
 * Runs the constructor of `target` once more on an object that exists, with the arguments that it was made with (or
 * `args`): its fields are as new, while its identity and its listeners stay. `target` has to be a class that is derived from another
 * one, whose constructor is left out.
 */
export function rebuild(target: Class, object: object, args = argumentsOf.get(object)): void {
  if (args === undefined) throw new TypeError('an object that was made before its class was observed');
  let top: object = target;
  // The class whose own constructor calls the one to be left out: the last that was written by the library.
  for (let next = parentOf(top); isLibraryClass(next); next = parentOf(top)) top = next;
  const base = parentOf(top);
  Object.setPrototypeOf(top, function existing() {
    return object;
  });
  try {
    Reflect.construct(target, args);
  } finally {
    Object.setPrototypeOf(top, base);
  }
}

function parentOf(value: object): object {
  return Object.getPrototypeOf(value) as object;
}

/** EventEmitter and what is above it belong to Node.js. */
function isLibraryClass(value: object): boolean {
  return value !== process.getBuiltinModule('node:events') && value !== Function.prototype;
}
