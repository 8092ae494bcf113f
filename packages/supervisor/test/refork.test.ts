import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { currentMold, readyWorkers } from '../src/refork/index.ts';
import type { WorkerReport } from '../src/refork/index.ts';
import { CALM, liveAnHour, World } from './refork-world.ts';

/** `npm run simulate` lives through 10,000 whole hours. */
const SEEDS = 10;
const EVERYTHING = [
  ...['starting', 'ready', 'molding', 'draining', 'ending'],
  ...['boot', 'capture', 'serving', 'stopping', 'stopped'],
];

function report(worker: number, oldestMs: number): WorkerReport {
  return { worker, requests: 1, oldestMs, privateBytes: 1, codeBytes: 1 };
}

function generations(world: World): number[] {
  return readyWorkers(world.state).map(
    ({ image }) => world.state.molds.find(({ id }) => id === image)?.generation ?? -1,
  );
}

describe('the refork policy', () => {
  test('starts the program once, and all workers from its image', () => {
    const world = new World(1, { workers: 4 });
    assert.deepEqual(
      world.feed({ type: 'tick' }).map(({ type }) => type),
      ['boot'],
    );
    world.run(10_000);
    assert.equal(readyWorkers(world.state).length, 4);
    assert.equal(world.state.molds.length, 1);
  });

  test('with an image starts workers at once', () => {
    const world = new World(1, { workers: 3 }, true);
    const actions = world.feed({ type: 'tick' });
    assert.deepEqual(
      actions.map((action) => (action.type === 'start' ? [action.slot, action.generation] : action)),
      [
        [0, 1],
        [1, 1],
        [2, 1],
      ],
    );
  });

  test('makes the warmest worker the mold at each threshold, and no more after the last', () => {
    const world = new World(2, { workers: 3, thresholds: [50, 100] }, true);
    world.load = 10;
    world.run(600_000);
    assert.deepEqual(generations(world), [2, 2, 2]);
    assert.deepEqual(world.seen.has('molding'), true);
  });

  test('makes a new image when the warmest worker has compiled more code than its image had, and compiles no more', () => {
    const world = new World(2, { workers: 1, thresholds: [], reforkWhenWarmMs: 5000 }, true);
    world.run(5000);
    const later = (ms: number, codeBytes: number): string[] => {
      world.now += ms;
      const worker = readyWorkers(world.state)[0]?.id ?? -1;
      const reports = [{ worker, requests: 9, oldestMs: 0, privateBytes: 1, codeBytes }];
      return world.feed({ type: 'heard', reports }).map(({ type }) => type);
    };
    const code = readyWorkers(world.state)[0]?.codeBytes ?? 0;
    assert.deepEqual(later(9000, code * 1.05), [], 'it is as it was born');
    assert.deepEqual(later(100, code * 1.5), []);
    assert.deepEqual(later(4900, code * 1.6), [], 'it compiles still');
    assert.deepEqual(later(4900, code * 1.605), []);
    assert.deepEqual(later(200, code * 1.5), ['capture']);
  });

  test('an image whose new workers all crash is broken although an old one lives', () => {
    const world = new World(5, { workers: 2, thresholds: [] }, true);
    world.run(20_000);
    const [old] = readyWorkers(world.state);
    const other = readyWorkers(world.state)[1]?.id ?? -1;
    world.trouble = { ...CALM, startFails: 1 };
    world.crash(other);
    for (let at = 0; at < 600 && world.state.molds.every(({ isBroken }) => !isBroken); at++) world.run(100);
    assert.ok(readyWorkers(world.state).some(({ id }) => id === old?.id));
    assert.deepEqual(
      world.state.molds.filter(({ id }) => id === 0).map(({ isBroken }) => isBroken),
      [true],
    );
  });

  test('chooses the worker with the most requests, and none that is to be replaced', () => {
    const world = new World(3, { workers: 3, thresholds: [], softRequestMs: 100 }, true);
    world.run(5000);
    const ids = readyWorkers(world.state).map(({ id }) => id);
    const tell = (worker: number, requests: number, oldestMs = 0): void =>
      void world.feed({
        type: 'heard',
        reports: [{ worker, requests, oldestMs, privateBytes: 1, codeBytes: 1 }],
      });
    tell(ids[0] ?? 0, 5);
    tell(ids[1] ?? 0, 7);
    tell(ids[2] ?? 0, 6);
    const [capture] = world.feed({ type: 'refork' });
    assert.deepEqual(capture, { type: 'capture', worker: ids[1], mold: 1 });
  });

  test('rolls out one worker after another, and takes the old one away only when the new one serves', () => {
    const world = new World(4, { workers: 3, thresholds: [] }, true);
    world.run(10_000);
    world.feed({ type: 'refork' });
    let most = 0;
    for (let at = 0; at < 300; at++) {
      world.run(100);
      const starting = world.state.workers.filter(({ phase }) => phase === 'starting').length;
      most = Math.max(most, starting);
      assert.ok(
        new Set(readyWorkers(world.state).map(({ slot }) => slot)).size >= 3 || world.state.making !== null,
      );
    }
    assert.equal(most, 1);
    assert.deepEqual(generations(world), [1, 1, 1]);
  });

  test('new code that crashes is given up, and the old one serves on', () => {
    const world = new World(5, { workers: 2 }, true);
    world.run(10_000);
    world.feed({ type: 'reload' });
    world.trouble = { ...CALM, startFails: 1 };
    world.run(30_000);
    assert.equal(world.state.release, 0);
    assert.equal(readyWorkers(world.state).length, 2);
    assert.ok(
      world.log.some((text) => /is broken: 3 of its workers failed.*back to image 0/.test(text)),
      world.log.join('\n'),
    );
    world.trouble = { ...CALM, bootFails: 1 };
    world.feed({ type: 'reload' });
    world.run(30_000);
    assert.equal(world.state.release, 0);
    assert.ok(world.log.includes('the new code does not come up; the old one serves on'));
    world.trouble = CALM;
    world.feed({ type: 'reload' });
    world.run(30_000);
    assert.equal(currentMold(world.state)?.release, world.state.release);
    assert.equal(world.state.provenRelease, world.state.release);
  });

  test('falls back from a broken image to the one before, and from that to a cold start', () => {
    const world = new World(6, { workers: 2, thresholds: [] }, true);
    world.run(10_000);
    world.feed({ type: 'refork' });
    world.trouble = { ...CALM, startFails: 1 };
    world.run(120_000);
    const texts = world.log.filter((text) => text.includes('is broken'));
    assert.match(texts[0] ?? '', /image 1 is broken.*back to image 0/);
    for (const { id } of readyWorkers(world.state)) world.crash(id);
    world.run(600_000);
    assert.ok(world.log.some((text) => /image 0 is broken.*the program is started anew/.test(text)));
  });

  test('a program that never comes up ends the server, after three attempts with pauses', () => {
    const world = new World(7);
    world.trouble = { ...CALM, bootFails: 1 };
    world.run(60_000);
    assert.equal(world.exitCode, 1);
    assert.equal(world.log.filter((text) => text.includes('the cold start failed')).length, 3);
  });

  test('pauses longer and longer between workers that crash', () => {
    const world = new World(8, { workers: 1 }, true);
    world.trouble = { ...CALM, startFails: 1 };
    world.run(300_000);
    const pauses = world.log
      .flatMap((text) => /the next one starts in (\d+) ms/.exec(text)?.[1] ?? [])
      .map(Number);
    assert.deepEqual(pauses.slice(0, 4), [250, 500, 1000, 2000]);
    assert.equal(Math.max(...pauses), 30_000);
  });

  test('replaces workers that served and are killed again and again without a pause', () => {
    const world = new World(13, { workers: 2, thresholds: [], provenMs: 60_000 }, true);
    world.load = 20;
    for (let kills = 0; kills < 20; kills++) {
      world.run(15_000);
      assert.equal(readyWorkers(world.state).length, 2);
      world.crash(readyWorkers(world.state).at(-1)?.id ?? -1);
    }
    assert.equal(world.log.filter((text) => text.includes('the next one starts in')).length, 0);
  });

  test('replaces a worker with a slow request, kills one with a hung request or that says nothing', () => {
    const world = new World(9, { workers: 2, thresholds: [] }, true);
    world.run(10_000);
    const [first, second] = readyWorkers(world.state);
    assert.ok(first !== undefined && second !== undefined);
    const slow = world.feed({ type: 'heard', reports: [report(first.id, 20_000)] });
    assert.deepEqual(
      slow.filter(({ type }) => type !== 'log').map(({ type }) => type),
      ['start'],
    );
    const hung = world.feed({ type: 'heard', reports: [report(second.id, 60_000)] });
    assert.ok(
      hung.some(
        (action) => action.type === 'end' && action.signal === 'SIGKILL' && action.worker === second.id,
      ),
    );
    world.run(20_000);
    assert.equal(readyWorkers(world.state).length, 2);
    world.now += 31_000;
    assert.equal(world.feed({ type: 'tick' }).filter(({ type }) => type === 'end').length, 2);
  });

  test('replaces a worker above its memory limit, and ends one that is never ready or does not drain', () => {
    const world = new World(10, { workers: 2, thresholds: [], memoryLimit: 1000 }, true);
    world.run(10_000);
    assert.ok(world.log.some((text) => text.includes('bytes of its own and is replaced')));
    world.trouble = { ...CALM, neverReady: 1 };
    world.run(60_000);
    assert.ok(world.log.some((text) => text.includes('was not ready within 30000 ms')));
    world.trouble = { ...CALM, stubborn: 1 };
    world.run(120_000);
    assert.ok(world.log.some((text) => /still had requests after \d+ ms/.test(text)));
  });

  test('makes no image that would not fit on the disk, and says so once', () => {
    const world = new World(11, { workers: 1, thresholds: [1], diskLimit: 60 << 20 }, true);
    world.load = 5;
    world.run(60_000);
    assert.equal(world.state.molds.length, 1);
    assert.equal(world.log.filter((text) => text.startsWith('no refork')).length, 1);
  });

  test('drains everybody when it is stopped, and ends when nobody is left', () => {
    const world = new World(12, { workers: 3 }, true);
    world.run(10_000);
    const actions = world.feed({ type: 'stop' });
    assert.equal(actions.filter(({ type }) => type === 'drain').length, 3);
    world.run(10_000);
    assert.equal(world.exitCode, 0);
  });

  test('lives through an hour of random events: never fewer than N-1 serve, nothing grows, every state is reached and left', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= SEEDS; seed++) for (const name of liveAnHour(seed, 600_000)) seen.add(name);
    assert.deepEqual([...seen].sort(), [...EVERYTHING].sort());
  });
});
