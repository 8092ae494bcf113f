import { Console } from 'node:console';

/** What is taken of Vitest's configuration. */
export interface StageConfig {
  readonly defines?: Readonly<Record<string, unknown>>;
  readonly disableConsoleIntercept?: boolean;
}

/**
 * Sets the stage on which Vitest lets a test file import: what packages look at when they are imported has to be there in the
 * mold as well. React, for one, looks once whether the console has `timeStamp`, which Vitest's has not. Vitest sets all of it
 * again when a file runs.
 */
export function setStage(config: StageConfig, isClient: boolean): void {
  for (const [name, value] of Object.entries(config.defines ?? {})) Reflect.set(globalThis, name, value);
  process.env['SSR'] = isClient ? '' : '1';
  if (config.disableConsoleIntercept !== true) globalThis.console = standIn();
}

/** A console like that of Vitest, whose methods hand over to the one that Vitest puts in its place. */
function standIn(): Console {
  const own = new Console({ stdout: process.stdout, stderr: process.stderr });
  for (const [name, method] of Object.entries(own)) {
    if (typeof method !== 'function') continue;
    const handOver = (...args: unknown[]): unknown => {
      const current = globalThis.console;
      const target: unknown = current === own ? method : Reflect.get(current, name);
      return typeof target === 'function' ? Reflect.apply(target, current, args) : undefined;
    };
    Reflect.set(own, name, handOver);
  }
  return own;
}
