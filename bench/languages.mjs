// Other languages: from the command to the end of a program that computes what only the restore was told, and from the command to
// the first answer of a Spring Boot application. Started cold, restored by plain CRIU, restored by forkpoint.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { interleave, pairs, shown, summary, table } from './driver.mjs';
import { ask, forkpoint, freePort, launch, LIMIT_MS, machine, root, run, watch } from './processes.mjs';

const SIZES = { smoke: 1, quick: 5, full: 11 };
/** Requests that a Spring Boot application has answered before its warm image is taken. */
const WARM_REQUESTS = 200;
const languages = join(root, '.forkpoint/languages');
const programs = join(root, 'bench/programs/languages');
const tool = (name) => join(languages, 'bin', name);
const client = join(root, 'packages/forkpoint/clients/forkpoint.jar');

/** Runs a command to its end; returns the milliseconds until it had printed what it should. */
async function timed(argv, env, wanted) {
  const started = performance.now();
  const child = watch(launch(argv, env));
  child.tell();
  await child.ended;
  const ms = performance.now() - started;
  if (!child.output().includes(wanted)) throw new Error(`${argv.slice(0, 6).join(' ')}: ${child.output()}`);
  return { ms };
}

function take(bench, argv, options = []) {
  run(forkpoint, ['run', ...options, '--', ...argv], bench.env);
}

/** JRuby: `puts` of an expression that differs in every round. */
function jruby(bench) {
  const image = (name) => join(bench.scratch, name);
  const hello = join(programs, 'hello.rb');
  take(bench, [tool('jruby'), hello, image('jruby')]);
  run(forkpoint, ['restore', image('jruby'), '--to', image('jruby-2'), '--', 'warm'], bench.env);
  const text = (round) => `puts "hello #{6 * ${round + 100}}"`;
  const wanted = (round) => `hello ${6 * (round + 100)}\n`;
  const restore = (name) => (round) =>
    timed([forkpoint, 'restore', image(name), '--', text(round)], bench.env, wanted(round));
  return {
    'JRuby 9.4, cold': (round) => timed([tool('jruby'), '-e', text(round)], process.env, wanted(round)),
    'JRuby 9.4, restored': restore('jruby'),
    'JRuby 9.4, restored, warmed generation 2': restore('jruby-2'),
  };
}

/** JRuby 10 by its own --checkpoint; its second generation has evaluated 300 texts. */
function jruby10(bench) {
  const image = (name) => join(bench.scratch, name);
  const main = ['--main', 'org.jruby.Main', '--'];
  take(bench, [tool('jruby10'), `--checkpoint=${image('ten')}`]);
  const warm =
    "require 'forkpoint'; 300.times { |i| eval(%(('hello ' + (6 * #{i}).to_s).upcase)) }; Forkpoint.checkpoint_restore; eval(Forkpoint.args[0])";
  run(forkpoint, ['restore', image('ten'), '--to', image('ten-2'), ...main, '-e', warm], bench.env);
  const text = (round) => `puts "hello #{6 * ${round + 100}}"`;
  const wanted = (round) => `hello ${6 * (round + 100)}\n`;
  return {
    'JRuby 10, cold': (round) => timed([tool('jruby10'), '-e', text(round)], process.env, wanted(round)),
    'JRuby 10, restored': (round) =>
      timed([forkpoint, 'restore', image('ten'), ...main, '-e', text(round)], bench.env, wanted(round)),
    'JRuby 10, restored, warmed generation 2': (round) =>
      timed([forkpoint, 'restore', image('ten-2'), '--', text(round)], bench.env, wanted(round)),
  };
}

/** What fork.rb prints: until the child's block began and the parent had its answer, and how long the parent stood still. */
function jrubyFork(bench) {
  const image = join(bench.scratch, 'fork');
  const program = join(programs, 'fork.rb');
  take(bench, [tool('jruby'), program, image]);
  const figures = async (argv, key) => {
    const child = watch(launch(argv, bench.env));
    child.tell();
    await child.ended;
    const found = /started (\S+) answered (\S+) stall (\S+)/.exec(child.output());
    if (found === null) throw new Error(`${argv.slice(0, 6).join(' ')}: ${child.output()}`);
    const [started, answered, stall] = found.slice(1).map(Number);
    return { ms: key === 'stall' ? stall : Math.max(started, answered) };
  };
  const booted = [forkpoint, 'run', '--', tool('jruby'), program];
  return {
    'JRuby 9.4, fork from a booted parent, until the block runs': () => figures(booted, 'both'),
    'JRuby 9.4, fork from a restored parent, until the block runs': () =>
      figures([forkpoint, 'restore', image], 'both'),
    'JRuby 9.4, stall of a restored parent that forks': () => figures([forkpoint, 'restore', image], 'stall'),
  };
}

async function sinatra(bench) {
  const port = await freePort();
  const image = join(bench.scratch, 'sinatra');
  const env = { ...bench.env, PORT: String(port) };
  const program = join(programs, 'sinatra.rb');
  const rubyEnv = { ...env, RUBYLIB: join(root, 'clients/ruby/lib') };
  const { id } = JSON.parse(run(forkpoint, ['run', '-d', '--json', '--', tool('ruby'), program], env));
  await untilAnswer(port);
  run(forkpoint, ['checkpoint', id, image, '--stop'], env);
  return {
    'MRI with Sinatra in Puma, first answer, cold': () => firstAnswer([tool('ruby'), program], rubyEnv, port),
    'MRI with Sinatra in Puma, first answer, restored': () =>
      firstAnswer([forkpoint, 'restore', image], env, port),
  };
}

function python(bench) {
  const site = join(languages, 'python-packages');
  const image = join(bench.scratch, 'frame');
  const env = { ...bench.env, PYTHONPATH: site };
  run(forkpoint, ['run', '--', tool('python3'), join(programs, 'frame.py'), image], env);
  const text = (round) => `print("sum", int(numpy.arange(${round + 100}).sum()))`;
  const wanted = (round) => `sum ${((round + 100) * (round + 99)) / 2}\n`;
  const cold = (round) => `import numpy, pandas\n${text(round)}`;
  return {
    'Python with numpy and pandas, cold': (round) =>
      timed([tool('python3'), '-c', cold(round)], env, wanted(round)),
    'Python with numpy and pandas, restored': (round) =>
      timed([forkpoint, 'restore', image, '--', text(round)], env, wanted(round)),
  };
}

function heap(bench) {
  const classes = join(bench.scratch, 'classes');
  run(tool('javac'), ['-d', classes, '-cp', client, join(programs, 'Heap.java')]);
  const variants = {};
  for (const megabytes of [256, 1024]) {
    const image = join(bench.scratch, `heap-${megabytes}`);
    const heapFlags = [`-Xmx${megabytes * 2}m`, '-XX:+UseSerialGC', '-cp', classes, 'Heap'];
    take(bench, [tool('java'), ...heapFlags, String(megabytes), image]);
    variants[`JVM, ${megabytes} MB of objects, restored`] = (round) =>
      timed([forkpoint, 'restore', image, '--', String(round + 5)], bench.env, `answer ${46 + round}\n`);
  }
  return variants;
}

/** Until the first answer with status 200 of the port. */
async function firstAnswer(argv, env, port) {
  const started = performance.now();
  const launched = launch(argv, env);
  const child = watch(launched);
  for (;;) {
    // Until it listens there is nobody to answer.
    const body = await Promise.race([ask(port, '/').catch(() => undefined), child.failed]);
    if (body !== undefined) break;
    if (performance.now() - started > LIMIT_MS) throw new Error('Spring Boot does not answer');
    await pause(2);
  }
  const ms = performance.now() - started;
  child.tell();
  process.kill(-Number(launched.pid), 'SIGKILL');
  await child.ended;
  return { ms };
}

async function spring(bench) {
  const jar = join(languages, 'spring/target/app.jar');
  const port = await freePort();
  const image = join(bench.scratch, 'spring');
  const flags = [
    `-XX:CRaCCheckpointTo=${image}`,
    '-Dspring.context.checkpoint=onRefresh',
    `-Dserver.port=${port}`,
  ];
  take(bench, [tool('java'), ...flags, '-jar', jar]);
  const warm = join(bench.scratch, 'spring-warm');
  const warmPort = await freePort();
  const words = [tool('java'), '-Dforkpoint.hooks=off', `-Dserver.port=${warmPort}`, '-jar', jar];
  const { id } = JSON.parse(run(forkpoint, ['run', '-d', '--json', '--', ...words], bench.env));
  await untilAnswer(warmPort);
  for (let request = 0; request < WARM_REQUESTS; request++) await ask(warmPort, '/');
  run(forkpoint, ['checkpoint', id, warm, '--stop'], bench.env);
  const restored = (from, at) => () => firstAnswer([forkpoint, 'restore', from], bench.env, at);
  return {
    'Spring Boot, first answer, cold': () =>
      firstAnswer([tool('java'), `-Dserver.port=${port}`, '-jar', jar], process.env, port),
    'Spring Boot, first answer, restored, taken on refresh': restored(image, port),
    'Spring Boot, first answer, restored, taken when warm': restored(warm, warmPort),
  };
}

/** Waits for a server; until it listens there is nobody to answer. */
async function untilAnswer(port) {
  const deadline = performance.now() + LIMIT_MS;
  while ((await ask(port, '/').catch(() => undefined)) === undefined) {
    if (performance.now() > deadline) throw new Error(`no answer at port ${port} within ${LIMIT_MS} ms`);
    await pause(20);
  }
}

/** What is compared with what, and the ratio that is wanted at least (or, of the heaps, at most). */
const RATIOS = [
  ['JRuby 9.4, cold', 'JRuby 9.4, restored', 'at least 30'],
  ['JRuby 9.4, restored', 'JRuby 9.4, restored, warmed generation 2', 'above 1'],
  ['JRuby 10, cold', 'JRuby 10, restored', '-'],
  ['JRuby 10, cold', 'JRuby 10, restored, warmed generation 2', 'at least 12'],
  ['JRuby 9.4, cold', 'JRuby 9.4, fork from a booted parent, until the block runs', 'at least 5'],
  ['JRuby 9.4, cold', 'JRuby 9.4, fork from a restored parent, until the block runs', 'at least 5'],
  ['MRI with Sinatra in Puma, first answer, cold', 'MRI with Sinatra in Puma, first answer, restored', '-'],
  ['Python with numpy and pandas, cold', 'Python with numpy and pandas, restored', 'at least 8'],
  ['Spring Boot, first answer, cold', 'Spring Boot, first answer, restored, taken on refresh', '-'],
  ['Spring Boot, first answer, cold', 'Spring Boot, first answer, restored, taken when warm', 'at least 15'],
  ['JVM, 1024 MB of objects, restored', 'JVM, 256 MB of objects, restored', 'at most 1.5'],
];

/** Runs the benchmark in a data directory in which set-up has been done, with the languages under test prepared. */
export async function benchLanguages({ home, size = 'quick', progress = () => undefined }) {
  const scratch = mkdtempSync(join(home, 'bench-'));
  const env = { ...process.env, FORKPOINT_HOME: home, FORKPOINT_NODE: process.execPath };
  const bench = { home, scratch, env };
  try {
    progress('taking the images');
    const variants = {
      ...jruby(bench),
      ...jruby10(bench),
      ...jrubyFork(bench),
      ...python(bench),
      ...heap(bench),
      ...(await sinatra(bench)),
      ...(await spring(bench)),
    };
    const times = await interleave(variants, SIZES[size], progress);
    return { size, rounds: SIZES[size], times, machine: machine() };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Returns the figures as text. */
export function reportLanguages({ rounds, times, machine: facts }) {
  const rows = Object.entries(times).map(([name, samples]) => [name, shown(summary(samples, 'ms'), 0)]);
  const ratios = RATIOS.filter(([a, b]) => times[a] !== undefined && times[b] !== undefined).map(
    ([a, b, wanted]) => [`${a} / ${b}`, shown(pairs(times[a], times[b], (x, y) => x.ms / y.ms)), wanted],
  );
  return [
    `${rounds} rounds, every variant once in each; ${typeof facts === 'string' ? facts : JSON.stringify(facts)}`,
    '',
    table([['median (min..max)', 'ms'], ...rows]),
    '',
    table([['ratio within a round', 'median (min..max)', 'wanted'], ...ratios]),
  ].join('\n');
}
