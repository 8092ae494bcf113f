// What every benchmark shares: rounds in which the variants take turns, medians, spread, ratios of pairs, tables.
// How to read the figures: bench/NOTES.md.

/**
 * Measures every variant once per round, in an order that moves on by one each round, so that a change of the machine's
 * load meets all variants alike. One more round before the first is not counted; for one or two rounds there is none,
 * because they only try the benchmark.
 * @param {Record<string, (round: number) => Promise<Record<string, number>>>} variants
 * @param {number} rounds
 * @param {(text: string) => void} progress
 * @returns {Promise<Record<string, Record<string, number>[]>>} per variant its samples, by round
 */
export async function interleave(variants, rounds, progress = () => undefined) {
  const names = Object.keys(variants);
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = rounds > 2 ? -1 : 0; round < rounds; round++) {
    progress(round < 0 ? 'one round that does not count' : `round ${round + 1} of ${rounds}`);
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round + names.length) % names.length];
      const sample = await named(name, () => variants[name](round));
      if (round >= 0) samples[name].push(sample);
    }
  }
  return samples;
}

/** Says which variant failed. */
async function named(name, measure) {
  try {
    return await measure();
  } catch (error) {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
}

/** Returns the median of at least one number. */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Returns median, smallest and largest of one figure of a variant's samples. */
export function summary(samples, key) {
  const values = samples.map((sample) => sample[key]);
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), count: values.length };
}

/** Returns the summary of `combine(a, b)` over the pairs of one round: steadier than a ratio of medians. */
export function pairs(a, b, combine) {
  return summary(
    a.map((sample, round) => ({ value: combine(sample, b[round]) })),
    'value',
  );
}

/** Returns `12.3` or `12.3 (11.0..15.2)`. */
export function shown({ median: middle, min, max }, digits = 1) {
  return `${middle.toFixed(digits)} (${min.toFixed(digits)}..${max.toFixed(digits)})`;
}

/** Returns rows of text as an aligned table; the first column to the left, the others to the right. */
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
