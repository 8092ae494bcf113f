// What `npm run bench -- restore` prints.
import { pairs, shown, summary, table } from './driver.mjs';

/** Our own share of a restore and the price of new randomness should stay below these, in milliseconds (SPECIFICATION.md). */
const OWN_TARGET_MS = 15;
const RECIPE_TARGET_MS = 8;

/** Returns the result of benchRestore as text. */
export function reportRestore({ times, costs, hashes, rounds, warm, bytes, machine }) {
  const [cold, warmed, stock, unlinked, ours, equal] = Object.values(times);
  const rows = [['median (min..max)', 'first callback ms', 'first answer ms', 'cpu ms', 'page faults']];
  for (const [name, samples] of Object.entries(times)) {
    const cost = (key) => summary(costs[name], key).median.toFixed(0);
    rows.push([
      name,
      shown(summary(samples, 'callbackMs')),
      shown(summary(samples, 'answerMs')),
      cost('cpuMs'),
      cost('faults'),
    ]);
  }
  const ratio = (a, b) =>
    `${shown(
      pairs(a, b, (x, y) => x.callbackMs / y.callbackMs),
      2,
    )}`;
  const own = summary(
    equal.map((sample) => ({ ms: sample.callbackMs - sample.criuMs })),
    'ms',
  );
  const recipe = pairs(ours, equal, (a, b) => a.callbackMs - b.callbackMs);
  return [
    `${rounds} rounds, every variant once in each, ${warm} requests of warm-up; ${machine}`,
    '',
    table(rows),
    '',
    'Ratios of the pairs of a round, to the first callback:',
    table([
      ['cold start and warm-up / forkpoint', ratio(warmed, ours)],
      ['cold start / forkpoint', ratio(cold, ours)],
      ['stock criu / forkpoint', ratio(stock, ours)],
      ['stock criu / forkpoint, image of --no-link', ratio(stock, unlinked)],
    ]),
    '',
    table([
      ['CRIU within our restore', `${shown(summary(equal, 'criuMs'))} ms`, ''],
      ['our own part, all but CRIU', `${shown(own)} ms`, verdict(own, OWN_TARGET_MS)],
      ['new randomness', `${shown(recipe)} ms`, verdict(recipe, RECIPE_TARGET_MS)],
      ['image', `${megabytes(bytes.linked)} MB`, `of --no-link: ${megabytes(bytes.plain)} MB`],
      ['answers', hashes.join(' '), 'the same in all'],
    ]),
  ].join('\n');
}

function verdict({ median }, target) {
  return `target ${target}: ${median <= target ? 'met' : 'missed'}`;
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}
