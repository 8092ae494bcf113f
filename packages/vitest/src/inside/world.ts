/** Builtin modules that packages are known to patch. */
const PATCHED = [
  'fs',
  'fs/promises',
  'http',
  'https',
  'net',
  'tls',
  'dns',
  'child_process',
  'timers',
  'timers/promises',
  'module',
  'util',
  'events',
  'stream',
  'path',
  'crypto',
  'os',
  'url',
  'worker_threads',
  'zlib',
  'assert',
];

/** How long what an import has opened may take to be closed again, and how often that is looked at. */
const SETTLE_MS = 300;
const SETTLE_STEP_MS = 10;

/** Where Vitest and Jest keep the matchers that `expect.extend` adds. */
const MATCHERS = Symbol.for('matchers-object');

const EXTENSIONS = process.getBuiltinModule('node:module').createRequire(process.execPath).extensions;

type Keys = ReadonlyMap<PropertyKey, unknown>;

/** What a module may change outside of itself, at one moment. */
export interface World {
  readonly objects: ReadonlyMap<object, Keys>;
  readonly resources: number;
  readonly listeners: string;
}

/** Looks at everything that modules share. The first look loads builtin modules, which changes things by itself. */
export function lookAtWorld(): World {
  const objects = new Map<object, Keys>();
  const add = (one: unknown): void => {
    if ((typeof one === 'object' || typeof one === 'function') && one !== null && !objects.has(one))
      objects.set(one, keysOf(one));
  };
  add(globalThis);
  for (const name of Reflect.ownKeys(globalThis)) {
    const value: unknown = Reflect.getOwnPropertyDescriptor(globalThis, name)?.value;
    // Classes of the environment as well: a polyfill adds to them.
    if (
      typeof value !== 'function' &&
      value !== console &&
      value !== Math &&
      value !== Reflect &&
      value !== JSON
    )
      continue;
    add(value);
    if (typeof value === 'function') add(Reflect.get(value, 'prototype'));
  }
  for (const name of PATCHED) add(process.getBuiltinModule(name));
  add(process);
  add(process.env);
  for (const { value } of Object.values(Object.getOwnPropertyDescriptors(EXTENSIONS))) add(value);
  add(EXTENSIONS);
  const matchers: unknown = Reflect.get(globalThis, MATCHERS);
  for (const one of typeof matchers === 'object' && matchers !== null ? Object.values(matchers) : [])
    add(one);
  return {
    objects,
    resources: process.getActiveResourcesInfo().length,
    listeners: process
      .eventNames()
      .map((name) => `${String(name)} ${process.listenerCount(name)}`)
      .join(),
  };
}

/** Looks again until nothing is open that was not before, for a moment: a read that has just begun is nothing that stays open. */
export async function settledWorld(before: World): Promise<World> {
  const { setTimeout: pause } = process.getBuiltinModule('node:timers/promises');
  const end = performance.now() + SETTLE_MS;
  let after = lookAtWorld();
  while (keepsOpen(before, after) && performance.now() < end) {
    await pause(SETTLE_STEP_MS);
    after = lookAtWorld();
  }
  return after;
}

/** Whether there is more that keeps the process going. */
function keepsOpen(before: World, after: World): boolean {
  return after.resources > before.resources;
}

/** Returns what differs, in words; undefined when nothing does. */
export function differenceOf(before: World, after: World): string | undefined {
  if (keepsOpen(before, after)) return 'it keeps something open';
  if (after.listeners !== before.listeners) return 'it listens for events of the process';
  for (const [object, keys] of before.objects) {
    const now = after.objects.get(object);
    if (now === undefined) continue;
    for (const [key, value] of now)
      if (!keys.has(key) || !Object.is(keys.get(key), value)) return `it changes ${String(key)}`;
    for (const key of keys.keys()) if (!now.has(key)) return `it removes ${String(key)}`;
  }
  return undefined;
}

function keysOf(object: object): Keys {
  const keys = new Map<PropertyKey, unknown>();
  for (const key of Reflect.ownKeys(object)) {
    // Node.js and tests change these all the time; nobody builds upon them.
    if (object === process && (key === '_events' || key === '_eventsCount' || key === 'exitCode')) continue;
    // Made by Node.js when fetch is used for the first time.
    if (typeof key === 'symbol' && key.description?.startsWith('undici.') === true) continue;
    const descriptor = Reflect.getOwnPropertyDescriptor(object, key);
    keys.set(key, descriptor?.get ?? descriptor?.value);
  }
  return keys;
}
