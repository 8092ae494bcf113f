/** Returns up to three candidates that are close to what was typed, best first. */
export function closeMatches(typed: string, candidates: readonly string[]): string[] {
  const limit = Math.ceil(typed.length / 3);
  return [...new Set(candidates)]
    .map((candidate) => ({ candidate, distance: rank(typed.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance || a.candidate.localeCompare(b.candidate))
    .slice(0, 3)
    .map(({ candidate }) => candidate);
}

function rank(typed: string, candidate: string): number {
  // Names have at most 100 characters; longer input is no typing error.
  if (typed.length > 100 || candidate.length > 100) return Number.POSITIVE_INFINITY;
  if (typed.length >= 2 && candidate.startsWith(typed)) return 0;
  let row = Array.from({ length: candidate.length + 1 }, (_, index) => index);
  for (let i = 1; i <= typed.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= candidate.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (typed[i - 1] === candidate[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[candidate.length] ?? 0;
}
