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

/** Returns the result of benchFork as text. */
export function reportFork({ starts, stalls, many, handover, load, machine }) {
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
  const lines = [
    machine,
    '',
    table([['three more that have served a request', 'ms', 'times fork()'], ...rows]),
    '',
    "the parent's stall, of a parent that was restored from a linked image",
    ...[0, 5, 50].map((mb) =>
      stallLine(
        mb,
        stalls.filter(({ dirtyMb }) => dirtyMb === mb),
      ),
    ),
    '',
    `${many.count} children, all answering   ${many.ms.toFixed(0)} ms, as many cold starts ${((many.coldMs * many.count) / many.cold).toFixed(0)} ms (by ${many.cold}); cold / fork ${((many.coldMs * many.count) / many.cold / many.ms).toFixed(1)}`,
    ...many.memory.map(
      ({ requests, mb }) =>
        `PSS after ${requests} requests   ${mb.toFixed(1)} MB a child, ${many.plainMb.toFixed(1)} MB a plain server after one; plain / child ${(many.plainMb / mb).toFixed(1)}`,
    ),
    '',
    ...handoverLines(handover),
    '',
    `load: ${load.connections} connections, ${load.seconds} s, ${load.forks} forks, ${load.killed} children killed, ${load.answers} answers by ${load.programs} programs, ${load.cut} requests cut with who served them, ${load.failed.length} failed`,
    ...load.failed.slice(0, 5).map(({ run, message }) => `  failed: ${message} (served by ${run})`),
  ];
  return lines.join('\n');
}

function stallLine(mb, samples) {
  const beyond = samples.map(({ stallMs, frozenMs }) => stallMs - frozenMs);
  const stall = summary(samples, 'stallMs');
  const more = mb === 0 ? '' : `, ${(stall.median / mb).toFixed(2)} ms a dirty MB`;
  return `  ${mb} MB dirty   stall ${shown(stall)} ms, frozen ${shown(summary(samples, 'frozenMs'))} ms, beyond it ${median(beyond).toFixed(1)} ms${more}`;
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
