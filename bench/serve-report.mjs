// What `npm run bench -- serve` prints.
import { pairs, shown, summary, table } from './driver.mjs';
import { FIRST } from './serve.mjs';

const mark = (isMet) => (isMet ? 'met' : 'missed');

/** Returns the result of benchServe as text. */
export function reportServe({ size, starts, memory, steady, load, machine }) {
  const { workers } = size;
  const faster = (arm) => pairs(starts.cluster, starts[arm], (cluster, other) => cluster.ms / other.ms);
  const start = (arm, aim) => [
    arm === 'image' ? 'from an image' : arm === 'cold' ? 'from nothing' : 'node:cluster',
    shown(summary(starts[arm], 'ms'), 0),
    aim === undefined ? '-' : shown(faster(arm), 2),
    aim === undefined ? '-' : `${aim}: ${mark(faster(arm).median >= aim)}`,
  ];
  const last = (arm) => memory[arm].at(-1).mb;
  const cpu = pairs(steady.refork, steady.cluster, (serve, cluster) => serve.cpu / cluster.cpu);
  const first = pairs(steady.cluster, steady.refork, (cluster, serve) => cluster.first / serve.first);
  const curve = Object.entries({
    cluster: 'node:cluster',
    cold: 'serve, refork off',
    refork: 'serve, refork on',
  });
  return [
    machine,
    '',
    table([
      [`${workers} workers ready`, 'ms', 'times cluster', 'aim'],
      start('cluster'),
      start('cold', 2),
      start('image', 5),
    ]),
    '',
    table([
      [
        'sum of PSS in MB after requests per worker',
        ...memory.cluster.map(({ requests }) => String(requests)),
      ],
      ...curve.map(([arm, name]) => [name, ...memory[arm].map(({ mb }) => mb.toFixed(0))]),
    ]),
    `refork on / cluster ${(last('refork') / last('cluster')).toFixed(2)}; aim 0.5: ${mark(last('refork') <= last('cluster') / 2)}`,
    '',
    table([
      ['', 'node:cluster', 'serve', 'ratio', 'aim'],
      [
        `first ${FIRST} requests of a replaced worker, ms`,
        shown(summary(steady.cluster, 'first')),
        shown(summary(steady.refork, 'first')),
        shown(first, 2),
        `2: ${mark(first.median >= 2)}`,
      ],
      [
        'processor ms per request',
        shown(summary(steady.cluster, 'cpu'), 2),
        shown(summary(steady.refork, 'cpu'), 2),
        shown(cpu, 2),
        `1.05: ${mark(cpu.median <= 1.05)}`,
      ],
    ]),
    '',
    `a refork under load   p99 ${load.steadyMs.toFixed(1)} ms before it, ${load.blipMs.toFixed(1)} ms around it; aim 2 times: ${mark(load.blipMs <= 2 * load.steadyMs)}`,
    `load for ${load.seconds} s   ${load.answers} answers, ${load.kills} workers killed and one reload, ${load.cut} requests cut on killed workers, ${load.failed.length + load.failedInPeace.length} failed: ${mark(load.failed.length + load.failedInPeace.length === 0)}`,
    `after kill -9 of the server   ${load.left} processes left: ${mark(load.left === 0)}`,
  ].join('\n');
}
