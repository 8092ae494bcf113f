import * as fs from 'node:fs';

/** What node:test looks for when it is told nothing (lib/internal/test_runner/utils.js, kDefaultPattern). */
const DEFAULT = '**/{test,test/**/*,test-*,*[._-]test}.{js,mjs,cjs,ts,mts,cts}';
/** Node.js from which on globs are no experiment. */
const GLOBS = [
  [22, 17],
  [24, 0],
] as const;

/** Returns the files that words and patterns mean, as far as this Node.js can tell: it only helps to know them. */
export function filesMeant(words: readonly string[]): string[] {
  const { globSync } = fs as { globSync?: typeof fs.globSync };
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isStable = major > 24 || GLOBS.some(([one, least]) => major === one && minor >= least);
  if (globSync === undefined || !isStable) return words.filter((word) => fs.existsSync(word));
  const exclude = (name: string): boolean => /(^|\/)node_modules$/.test(name);
  return globSync(words.length === 0 ? [DEFAULT] : [...words], { exclude });
}
