// What `npm run bench -- image` prints, and the targets of linked images with what was measured of each.
import { pairs, shown, summary, table } from './driver.mjs';

/** How many times faster than plain CRIU a restore of a linked heap has to be, by program and megabytes. */
const AT_LEAST = { C: { 500: 20 }, JVM: { 512: 8, 1024: 15, 2048: 30 }, Node: { 50: 2.5, 1024: 20 } };
const FLAT_MAX = 1.5;
const READ_MAX_BYTES = 20e6;
const LINKED_MIN = 0.95;
const WRITTEN_MAX = 0.05;
const SHARE_MAX = 1 / 15;
const IMPROVED_MAX = 0.5;

/** Returns the result of benchImage as text. */
export function reportImage({ parts, machine }) {
  const texts = Object.entries(parts).map(
    ([name, part]) => `${name}\n${'-'.repeat(name.length)}\n${reportPart(part)}`,
  );
  return [machine, ...texts].join('\n\n');
}

/**
 * Returns what was measured of every target that the samples can tell about.
 * @returns {{ what: string, value: number, bound: '>=' | '<=', target: number, isMet: boolean, spread?: string }[]}
 */
export function targetsOf(part) {
  if (part.idle !== undefined) return cloneTargets(part);
  if (part.warm !== undefined) return improvementTargets(part);
  return heapTargets(part);
}

function reportPart(part) {
  const body =
    part.idle !== undefined
      ? clonesText(part)
      : part.warm !== undefined
        ? improvementText(part)
        : heapsText(part);
  const targets = targetsOf(part).map(({ what, value, spread, bound, target, isMet }) => [
    what,
    spread ?? value.toFixed(2),
    `target ${bound} ${Number(target.toFixed(3))}`,
    isMet ? 'met' : 'missed',
  ]);
  return targets.length === 0 ? body : `${body}\n\n${table(targets)}`;
}

function target(what, { median, min, max }, bound, limit) {
  const isMet = bound === '>=' ? median >= limit : median <= limit;
  return { what, value: median, spread: shown({ median, min, max }, 2), bound, target: limit, isMet };
}

// ---- heaps ----

function heapTargets({ times, costs, heaps }) {
  const names = Object.keys(heaps).filter((name) => !name.includes('no address hints'));
  const linked = (name) => times[`${name}, linked`];
  const ratio = (a, b) => pairs(a, b, (x, y) => x.callbackMs / y.callbackMs);
  const found = [];
  for (const name of names) {
    const least = AT_LEAST[name.split(' ')[0]]?.[megabytesOf(name)];
    if (least === undefined) continue;
    found.push(target(`stock / linked, ${name}`, ratio(times[`${name}, stock`], linked(name)), '>=', least));
  }
  for (const name of names.filter((one) => megabytesOf(one) >= 50)) {
    const { dumped, copied } = heaps[name].pages;
    const exactly = (value) => ({ median: value, min: value, max: value });
    found.push(
      target(`share of the pages that is linked, ${name}`, exactly(1 - copied / dumped), '>=', LINKED_MIN),
    );
    found.push(target(`written by linking, ${name}`, exactly(copied / dumped), '<=', WRITTEN_MAX));
  }
  const isNode = names[0].startsWith('Node');
  const small = names.find((name) => megabytesOf(name) === (isNode ? 50 : 256));
  const large = names.find((name) => megabytesOf(name) === 1024);
  if (small === undefined || large === undefined) return found;
  found.push(target(`linked, ${large} / ${small}`, ratio(linked(large), linked(small)), '<=', FLAT_MAX));
  for (const name of [small, large]) {
    const { rchar } = costs[`${name}, linked`];
    const value = { median: rchar / 1e6, min: rchar / 1e6, max: rchar / 1e6 };
    found.push(target(`megabytes read, ${name}`, value, '<=', READ_MAX_BYTES / 1e6));
  }
  return found;
}

function megabytesOf(name) {
  return Number(/(\d+) MB/.exec(name)?.[1]);
}

function heapsText({ rounds, times, costs, heaps }) {
  const rows = [
    ['median (min..max)', 'first callback ms', 'criu ms', 'read MB', 'faults', 'cpu ms', 'areas'],
  ];
  for (const [name, samples] of Object.entries(times)) {
    const { rchar, faults, cpuMs, areas } = costs[name];
    rows.push([
      name,
      shown(summary(samples, 'callbackMs')),
      samples[0].criuMs === undefined ? '-' : shown(summary(samples, 'criuMs')),
      (rchar / 1e6).toFixed(1),
      String(faults),
      cpuMs.toFixed(0),
      String(areas),
    ]);
  }
  const images = Object.entries(heaps).map(([name, { digest, bytes }]) => [
    name,
    `image ${megabytes(bytes.linked)} MB`,
    bytes.plain === undefined ? '' : `of --no-link: ${megabytes(bytes.plain)} MB`,
    `digest ${digest}, the same in all`,
  ]);
  return [`${rounds} pairs`, table(rows), '', table(images)].join('\n');
}

// ---- clones ----

function cloneTargets({ idle, clones }) {
  if (clones < 50) return [];
  const share = idle.clones.pssMb / idle.plain.pssMb;
  return [
    target(
      `PSS of one of ${clones} clones / plain`,
      { median: share, min: share, max: share },
      '<=',
      SHARE_MAX,
    ),
  ];
}

function clonesText({ clones, heapMb, idle, growth, hashes }) {
  const rows = [['megabytes per process', 'PSS', 'private', 'page tables']];
  const add = (name, { pssMb, privateMb, tablesMb }) =>
    rows.push([name, pssMb.toFixed(2), privateMb.toFixed(2), tablesMb.toFixed(2)]);
  for (const [kind, figures] of Object.entries(idle)) add(`${clones} ${NAMES[kind]}, idle`, figures);
  for (const [kind, steps] of Object.entries(growth))
    for (const [requests, figures] of Object.entries(steps))
      add(`4 ${NAMES[kind]}, after ${requests} requests each`, figures);
  const ratio = idle.plain.pssMb / idle.clones.pssMb;
  return [
    `servers with a heap of ${heapMb} MB; clones with new randomness and their launchers`,
    table(rows),
    '',
    `plain / clone, idle: ${ratio.toFixed(1)}; answers ${hashes.join(' ')}, the same in all`,
  ].join('\n');
}

const NAMES = { plain: 'plain servers', clones: 'clones' };

// ---- a second generation ----

function improvementTargets({ times, warm }) {
  if (warm < 1000) return [];
  const [one, two] = Object.values(times);
  const ratio = pairs(two, one, (a, b) => a.requestsMs / b.requestsMs);
  return [target('first requests, generation 2 / generation 1', ratio, '<=', IMPROVED_MAX)];
}

function improvementText({ rounds, warm, first, times, bytes, hashes }) {
  const rows = [['median (min..max)', 'first callback ms', `first ${first} requests ms`]];
  for (const [name, samples] of Object.entries(times))
    rows.push([name, shown(summary(samples, 'callbackMs')), shown(summary(samples, 'requestsMs'))]);
  return [
    `${rounds} pairs; generation 2 was taken of a clone of generation 1 after ${warm} requests`,
    table(rows),
    '',
    `image of generation 1 ${megabytes(bytes.first)} MB, of generation 2 ${megabytes(bytes.second)} MB, of which its own ${megabytes(bytes.own)} MB; answers ${hashes.join(' ')}, the same in all`,
  ].join('\n');
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}
