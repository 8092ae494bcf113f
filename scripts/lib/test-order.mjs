/**
 * Seconds that the longest test files take where three run at once on two processors. Only their order counts, and what is not here is
 * short: no need to keep it exact.
 */
const SECONDS = {
  'test/engine/bench.test.ts': 270,
  'test/engine/store.test.ts': 110,
  'test/languages/conformance.test.ts': 105,
  'test/engine/vitest.test.ts': 90,
  'test/engine/trees.test.ts': 75,
  'test/engine/descriptors.test.ts': 70,
  'test/engine/faults.test.ts': 67,
  'test/engine/setup.test.ts': 67,
  'test/languages/jruby.test.ts': 67,
  'test/engine/adapters-databases.test.ts': 48,
  'test/engine/chains.test.ts': 46,
  'packages/store/test/walks/hostile.test.ts': 46,
  'test/languages/clones.test.ts': 45,
  'test/engine/linked.test.ts': 43,
  'test/engine/server.test.ts': 40,
  'test/engine/warm.test.ts': 40,
};

/**
 * Returns names of files in the order in which they are best begun: the longest first, the others by name.
 * @param {string[]} files
 */
export function longestFirst(files) {
  const seconds = (file) => SECONDS[file] ?? 0;
  return files.toSorted((a, b) => seconds(b) - seconds(a) || (a < b ? -1 : 1));
}
