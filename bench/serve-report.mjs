// What `npm run bench -- serve` prints.
import { median, pairs, shown, summary, table } from './driver.mjs';
import { FIRST } from './serve.mjs';

const mark = (isMet) => (isMet ? 'met' : 'missed');

/** Returns the result of benchServe as text: of the parts that were measured. */
export function reportServe({ size, starts, memory, steady, load, machine }) {
  return [
    [machine],
    starts && [reportStarts(size, starts)],
    memory && reportMemory(memory),
    steady && [reportSteady(steady)],
    load && reportLoad(load),
  ]
    .filter((lines) => lines !== undefined)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

function reportStarts({ workers }, starts) {
  const faster = (arm) => pairs(starts.cluster, starts[arm], (cluster, other) => cluster.ms / other.ms);
  const start = (arm, aim) => [
    arm === 'image' ? 'from an image' : arm === 'cold' ? 'from nothing' : 'node:cluster',
    shown(summary(starts[arm], 'ms'), 0),
    aim === undefined ? '-' : shown(faster(arm), 2),
    aim === undefined ? '-' : `${aim}: ${mark(faster(arm).median >= aim)}`,
  ];
  const head = [`${workers} workers ready`, 'ms', 'times cluster', 'aim'];
  return table([head, start('cluster'), start('cold', 2), start('image', 5)]);
}

function reportMemory(memory) {
  const last = (arm) => memory[arm].at(-1).mb;
  const names = { cluster: 'node:cluster', cold: 'serve, refork off', refork: 'serve, refork on' };
  const head = [
    'sum of PSS in MB after requests per worker',
    ...memory.cluster.map(({ requests }) => String(requests)),
  ];
  const rows = Object.entries(names).map(([arm, name]) => [
    name,
    ...memory[arm].map(({ mb }) => mb.toFixed(0)),
  ]);
  const ratio = last('refork') / last('cluster');
  return [table([head, ...rows]), `refork on / cluster ${ratio.toFixed(2)}; aim 0.5: ${mark(ratio <= 0.5)}`];
}

function reportSteady({ cluster, refork }) {
  const middle = (arm, key) => ({
    ...summary(
      arm.flatMap((sample) => sample[key]).map((ms) => ({ ms })),
      'ms',
    ),
  });
  const row = (name, key, aim) => {
    const ratio = pairs(cluster, refork, (one, other) => median(one[key]) / median(other[key]));
    const met = aim === undefined ? '-' : `${aim}: ${mark(ratio.median >= aim)}`;
    return [name, shown(middle(cluster, key)), shown(middle(refork, key)), shown(ratio, 2), met];
  };
  const cpu = pairs(refork, cluster, (serve, other) => serve.cpu / other.cpu);
  return table([
    ['', 'node:cluster', 'serve', 'ratio', 'aim'],
    row(`first ${FIRST} requests of a replaced worker, ms`, 'first', 2),
    row('from the kill to the first answer of the next one, ms', 'gap'),
    [
      'processor ms per request',
      shown(summary(cluster, 'cpu'), 2),
      shown(summary(refork, 'cpu'), 2),
      shown(cpu, 2),
      `1.05: ${mark(cpu.median <= 1.05)}`,
    ],
  ]);
}

function reportLoad(load) {
  const failed = load.failed.length + load.failedInPeace.length;
  return [
    `a refork under load   p99 ${load.steadyMs.toFixed(1)} ms before it, ${load.blipMs.toFixed(1)} ms around it; aim 2 times: ${mark(load.blipMs <= 2 * load.steadyMs)}`,
    `load for ${load.seconds} s   ${load.answers} answers, ${load.kills} workers killed and one reload, ${load.cut} requests cut on killed workers, ${failed} failed: ${mark(failed === 0)}`,
    `after kill -9 of the server   ${load.left} processes left: ${mark(load.left === 0)}`,
  ];
}
