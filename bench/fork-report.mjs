// What `npm run bench -- fork` prints.
import { median, pairs, shown, summary, table } from './driver.mjs';

const NAMES = {
  fork: 'fork({ count: 3 })',
  cold: 'three cold starts',
  process: 'child_process.fork, three times',
  cluster: 'node:cluster, three workers',
  stock: 'stock criu restore, three times',
  floor: 'fork(2) of 64 MB in C, three times',
};

const PARTS = {
  starts: startLines,
  stalls: stallLines,
  many: manyLines,
  handover: handoverLines,
  load: loadLines,
};

/** Returns the result of benchFork as text. */
export function reportFork(result) {
  const measured = Object.keys(PARTS).filter((name) => result[name] !== undefined);
  return [result.machine, ...measured.flatMap((name) => ['', ...PARTS[name](result[name])])].join('\n');
}

function startLines(starts) {
  const rows = Object.entries(NAMES)
    .filter(([name]) => starts[name] !== undefined)
    .map(([name, text]) => [
      text,
      shown(summary(starts[name], 'ms'), name === 'floor' ? 2 : 1),
      shown(
        pairs(starts.fork, starts[name], (fork, other) => other.ms / fork.ms),
        2,
      ),
    ]);
  return [table([['three more that have served a request', 'ms', 'times fork()'], ...rows])];
}

function stallLines(stalls) {
  const kinds = [...new Set(stalls.map(({ kind }) => kind))];
  return kinds.flatMap((kind) => [
    `the parent's stall, ${kind}`,
    ...[0, 5, 50].map((mb) => stallLine(mb, ofKind(stalls, kind, mb))),
    `  each dirty MB more   ${((stallOf(stalls, kind, 50) - stallOf(stalls, kind, 0)) / 50).toFixed(2)} ms`,
  ]);
}

function manyLines(many) {
  const cold = (many.coldMs * many.count) / many.cold;
  return [
    `${many.count} children, all answering   ${many.ms.toFixed(0)} ms, as many cold starts ${cold.toFixed(0)} ms (by ${many.cold}); cold / fork ${(cold / many.ms).toFixed(1)}`,
    ...many.memory.map(
      ({ requests, mb }) =>
        `PSS after ${requests} requests   ${mb.toFixed(1)} MB a child, ${many.plainMb.toFixed(1)} MB a plain server after one; plain / child ${(many.plainMb / mb).toFixed(1)}`,
    ),
  ];
}

function loadLines(load) {
  return [
    `load: ${load.connections} connections, ${load.seconds} s, ${load.forks} forks, ${load.killed} children killed, ${load.answers} answers by ${load.programs} programs, ${load.cut} requests cut with who served them, ${load.failed.length} failed`,
    ...load.failed.slice(0, 5).map(({ run, message }) => `  failed: ${message} (served by ${run})`),
  ];
}

function ofKind(stalls, kind, mb) {
  return stalls.filter((one) => one.kind === kind && one.dirtyMb === mb);
}

function stallOf(stalls, kind, mb) {
  return summary(ofKind(stalls, kind, mb), 'stallMs').median;
}

function stallLine(mb, samples) {
  const beyond = samples.map(({ stallMs, frozenMs }) => stallMs - frozenMs);
  return `  ${mb} MB dirty   stall ${shown(summary(samples, 'stallMs'))} ms, frozen ${shown(summary(samples, 'frozenMs'))} ms, beyond it ${median(beyond).toFixed(1)} ms`;
}

function handoverLines({ samples, stockMs }) {
  const handover = summary(samples, 'handoverMs');
  const pipe = summary(samples, 'pipeMs');
  const stock = median(stockMs);
  return [
    `parked clone, first line after acquire   ${shown(handover, 2)} ms`,
    `round trip through its pipe   ${shown(pipe, 2)} ms; handover / round trip ${(handover.median / pipe.median).toFixed(1)}`,
    `stock criu restore, first answer   ${stock.toFixed(1)} ms; stock / handover ${(stock / handover.median).toFixed(1)}`,
  ];
}
