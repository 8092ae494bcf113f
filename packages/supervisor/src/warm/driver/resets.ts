import * as nodeModule from 'node:module';

/** A function of a package that forgets what the package has kept from one use to the next. */
interface Reset {
  /** End of the path of the module that has them. */
  readonly module: RegExp;
  readonly functions: readonly string[];
}

/**
 * Packages that know more than one project at a time behave differently when they have seen another one before; these offer to
 * forget. What is missing in a version is left out: whether the answers are right is for the check of each new image to say.
 */
const RESETS: readonly Reset[] = [
  {
    // Refuses to guess a root directory once it has seen two (typescript-eslint 8, candidateTSConfigRootDirs).
    module: /[/\\]@typescript-eslint[/\\]typescript-estree[/\\]dist[/\\]index\.js$/,
    functions: ['clearCaches', 'clearCandidateTSConfigRootDirs'],
  },
  {
    // Remembers configuration files and what it has found on the way to them.
    module: /[/\\]prettier[/\\]index\.cjs$/,
    functions: ['clearConfigCache'],
  },
];

/** Has the loaded packages forget the run that has just ended. */
export function forgetRun(): void {
  const { _cache: cache } = nodeModule.Module as unknown as { _cache: Record<string, { exports?: unknown }> };
  for (const [path, loaded] of Object.entries(cache)) {
    const reset = RESETS.find(({ module }) => module.test(path));
    if (reset === undefined || typeof loaded.exports !== 'object' || loaded.exports === null) continue;
    for (const name of reset.functions) {
      const forget: unknown = Reflect.get(loaded.exports, name);
      if (typeof forget === 'function') forget.call(loaded.exports);
    }
  }
}
