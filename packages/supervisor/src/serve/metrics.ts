import type { Crew } from './crew.ts';
import type { History } from './history.ts';
import { NO_USAGE } from './memory.ts';
import type { Usage } from './memory.ts';
import type { ServeStatus } from './status.ts';
import { BUCKETS, NOTHING_TOLD } from './told.ts';
import type { Told } from './told.ts';

type Labels = Readonly<Record<string, string | number>>;

/** One metric in the text format of Prometheus. */
class Metric {
  readonly #lines: string[];

  constructor(name: string, type: 'counter' | 'gauge' | 'histogram', help: string) {
    this.#lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
  }

  add(name: string, value: number, labels: Labels = {}): this {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(String(text))}"`);
    this.#lines.push(`${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}`);
    return this;
  }

  text(): string {
    return `${this.#lines.join('\n')}\n`;
  }
}

/**
 * Returns the metrics in the text format of Prometheus 0.0.4. Where prom-client has a name for something, it has that name: what
 * workers that have ended had counted is in the sums, so that counters never go back.
 */
export function metricsOf(status: ServeStatus, crew: Crew, history: History): string {
  return [
    requestMetrics(status, crew, history),
    ...workerMetrics(status, crew),
    ...serverMetrics(status, history),
  ]
    .map((part) => (typeof part === 'string' ? part : part.text()))
    .join('');
}

function requestMetrics(status: ServeStatus, crew: Crew, history: History): string {
  const parts = crew.all();
  const duration = 'http_request_duration_seconds';
  const histogram = new Metric(duration, 'histogram', 'Time from a request to the end of its answer.');
  let count = 0;
  for (const [at, ended] of history.buckets.entries()) {
    count += parts.reduce((sum, { told }) => sum + (told.buckets[at] ?? 0), ended);
    histogram.add(`${duration}_bucket`, count, { le: BUCKETS[at] ?? '+Inf' });
  }
  const seconds = parts.reduce((sum, { told }) => sum + told.seconds, history.seconds);
  histogram.add(`${duration}_sum`, Math.round(seconds * 1e6) / 1e6).add(`${duration}_count`, count);
  const total = new Metric(
    'http_requests_total',
    'counter',
    'Requests begun, by all workers there have been.',
  );
  total.add('http_requests_total', status.totals.requests);
  return total.text() + histogram.text();
}

type WorkerOf = ServeStatus['workers'][number];

/** One metric with a line for each worker. */
function perWorker(workers: readonly WorkerOf[]) {
  return (
    name: string,
    help: string,
    value: (worker: WorkerOf) => number,
    {
      type = 'gauge',
      labels = () => ({}),
    }: { type?: 'counter' | 'gauge'; labels?: (one: WorkerOf) => Labels } = {},
  ): Metric => {
    const metric = new Metric(name, type, help);
    for (const worker of workers) {
      const { slot, pid, generation } = worker;
      metric.add(name, value(worker), { worker: slot, pid: pid ?? 0, generation, ...labels(worker) });
    }
    return metric;
  };
}

function workerMetrics({ workers }: ServeStatus, crew: Crew): Metric[] {
  const each = perWorker(workers);
  const toldBy = ({ worker }: WorkerOf): Told => crew.get(worker)?.told ?? NOTHING_TOLD;
  const usageOf = ({ worker }: WorkerOf): Usage => crew.get(worker)?.usage ?? NO_USAGE;
  const counter = { type: 'counter' } as const;
  return [
    each('http_requests_in_flight', 'Requests without a whole answer.', ({ active }) => active),
    each(
      'process_resident_memory_bytes',
      'Resident memory of a worker with its children.',
      ({ memory }) => memory.privateBytes + memory.sharedBytes,
    ),
    each('forkpoint_worker_private_bytes', 'Memory of its own.', ({ memory }) => memory.privateBytes),
    each('forkpoint_worker_shared_bytes', 'Memory shared with others.', ({ memory }) => memory.sharedBytes),
    each('process_cpu_seconds_total', 'Processor time.', ({ cpuSeconds }) => cpuSeconds, counter),
    each(
      'process_cpu_user_seconds_total',
      'Processor time in the program.',
      (one) => usageOf(one).userSeconds,
      counter,
    ),
    each(
      'process_cpu_system_seconds_total',
      'Processor time in the kernel.',
      (one) => usageOf(one).systemSeconds,
      counter,
    ),
    each('nodejs_eventloop_lag_seconds', 'How late a timer came last.', (one) => toldBy(one).lagMs / 1000),
    each('nodejs_heap_size_total_bytes', 'Size of the heap.', (one) => toldBy(one).heapTotal),
    each('nodejs_heap_size_used_bytes', 'What is used of it.', (one) => toldBy(one).heapUsed),
    each('nodejs_external_memory_bytes', 'What belongs to it outside.', (one) => toldBy(one).external),
    each('nodejs_version_info', 'Version of Node.js.', () => 1, {
      labels: (one) => versionOf(toldBy(one).node),
    }),
    each('forkpoint_worker_requests', 'Requests that a worker has begun.', ({ requests }) => requests),
  ];
}

/** The labels that prom-client gives a version. */
function versionOf(node: string): Labels {
  const [major = '', minor = '', patch = ''] = node.split('.');
  return { version: `v${node}`, major, minor, patch };
}

function serverMetrics(status: ServeStatus, history: History): Metric[] {
  const states = ['starting', 'ready', 'molding', 'draining', 'ending'] as const;
  const workers = new Metric('forkpoint_workers', 'gauge', 'Workers by their state.');
  for (const state of states)
    workers.add('forkpoint_workers', status.workers.filter((one) => one.state === state).length, { state });
  const one = (name: string, type: 'counter' | 'gauge', help: string, value: number): Metric =>
    new Metric(name, type, help).add(name, value);
  return [
    workers,
    one('forkpoint_reforks_total', 'counter', 'Images made of workers.', status.totals.reforks),
    one('forkpoint_reloads_total', 'counter', 'Reloads asked for.', status.totals.reloads),
    one('forkpoint_worker_exits_total', 'counter', 'Workers that have ended.', history.exits),
    one(
      'forkpoint_mold_generation',
      'gauge',
      'Generation of the image that workers start from.',
      status.mold?.generation ?? 0,
    ),
    one('forkpoint_mold_bytes', 'gauge', 'Size of that image on the disk.', status.mold?.bytes ?? 0),
    one(
      'process_start_time_seconds',
      'gauge',
      'When the server started.',
      Date.parse(status.startedAt) / 1000,
    ),
  ];
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
