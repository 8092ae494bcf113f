// What `npm run bench -- load` prints.
import { shown, summary, table } from './driver.mjs';

/** What a checkpoint may add to the time that CRIU freezes the program, in milliseconds (SPECIFICATION.md). */
const TARGET_MS = 30;

/** Returns the result of benchLoad as text. */
export function reportLoad({ connections, checkpoints, answers, errors, reconnects, machine }) {
  const rows = [
    [
      'checkpoint',
      'longest stall ms',
      'frozen by CRIU ms',
      'difference ms',
      'without a checkpoint ms',
      'whole checkpoint ms',
    ],
  ];
  const text = (value) => value.toFixed(1);
  for (const [i, { stallMs, frozenMs, idleMs, totalMs }] of checkpoints.entries())
    rows.push([
      String(i + 1),
      text(stallMs),
      text(frozenMs),
      text(stallMs - frozenMs),
      text(idleMs),
      text(totalMs),
    ]);
  const worst = checkpoints.reduce((most, one) => (one.stallMs > most.stallMs ? one : most));
  const difference = summary(
    checkpoints.map(({ stallMs, frozenMs }) => ({ ms: stallMs - frozenMs })),
    'ms',
  );
  const apart = worst.stallMs - worst.frozenMs;
  return [
    `${connections} connections, ${checkpoints.length} checkpoints, ${answers} answers, ${errors.length} errors, ${reconnects} connections made anew`,
    machine,
    ...new Set(errors),
    '',
    table(rows),
    '',
    table([
      ['longest stall', `${text(worst.stallMs)} ms`],
      ['frozen by CRIU', `${text(worst.frozenMs)} ms`],
      ['difference', `${text(apart)} ms`],
      ['median of the differences', `${shown(difference)} ms`],
    ]),
    `target of the difference ${TARGET_MS}: ${apart <= TARGET_MS ? 'met' : 'missed'}`,
  ].join('\n');
}
