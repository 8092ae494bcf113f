// What a report of Node's test runner (TAP 14, as its `tap` reporter writes it) says of the tests that failed.

/** Lines of an error that are repeated; the whole stands where the test ran. */
const LINES_MAX = 15;

/**
 * Returns the failed tests of a report, without the suites that failed only because of them.
 * @param {string} text
 * @returns {{ name: string, location: string, error: string }[]}
 */
export function failuresOf(text) {
  const lines = text.split('\n');
  const failures = [];
  for (const [at, line] of lines.entries()) {
    const [, name] = /^\s*not ok \d+ - (.*)$/.exec(line) ?? [];
    if (name === undefined || lines[at + 1]?.trim() !== '---') continue;
    const end = lines.findIndex((other, index) => index > at && other.trim() === '...');
    const facts = lines.slice(at + 2, end === -1 ? undefined : end);
    if (factOf(facts, 'failureType') === 'subtestsFailed') continue;
    failures.push({ name, location: factOf(facts, 'location'), error: factOf(facts, 'error') });
  }
  return failures;
}

/** Returns a value of a YAML block: what stands behind its key, or the deeper lines below. */
function factOf(lines, key) {
  const at = lines.findIndex((line) => line.trimStart().startsWith(`${key}: `));
  const line = lines[at];
  if (line === undefined) return '';
  const value = line.trimStart().slice(key.length + 2);
  if (value !== '|-') return value.replace(/^'(.*)'$/, '$1');
  const indent = line.length - line.trimStart().length;
  const below = lines.slice(at + 1);
  const next = below.findIndex((other) => other.trim() !== '' && !other.startsWith(' '.repeat(indent + 1)));
  return below
    .slice(0, Math.min(LINES_MAX, next === -1 ? below.length : next))
    .map((other) => other.slice(indent + 2))
    .join('\n');
}
