import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { write } from './pods.ts';
import { freePort, Load, statusOf } from './serving.ts';

/**
 * A server whose copies of this start go wrong as the file `fault` says: `crash N` or `hang N` from the N-th copy of a copy on.
 * Tells its start, how many restores lie behind it, and whether a function that it has compiled is compiled still.
 */
const PROGRAM = `
const { existsSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const start = process.pid + '-' + Date.now();
const fault = join(__dirname, 'fault');
const isFine = existsSync(join(__dirname, 'fixed'));
let generation = 0;
function Shape(n) {
  this.first = n;
}
const made = (n) => {
  const one = new Shape(n);
  one.second = n;
  return one;
};
// Compiled for a shape that nothing has any more once the function has returned.
const hot = (one) => one.first + one.second;
%PrepareFunctionForOptimization(hot);
hot(made(1));
hot(made(2));
%OptimizeFunctionOnNextCall(hot);
hot(made(3));
process.on('forkpoint:config-changed', () => {
  generation++;
  if (isFine || !existsSync(fault)) return;
  const [what, from] = readFileSync(fault, 'utf8').split(' ');
  if (generation < Number(from)) return;
  if (what === 'crash') process.exit(7);
  // Stands still without a processor.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
require('node:http').createServer((request, response) => {
  const isOptimized = (%GetOptimizationStatus(hot) & 16) !== 0;
  response.end([start, generation, isOptimized].join(' '));
}).listen(Number(process.env.PORT), '127.0.0.1');
`;

describe('forkpoint serve when images and workers fail', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => {
    await Load.endAll();
    await person.leave();
  });

  const begin = async (port: number): Promise<Running> => {
    const program = write(person, 'failing.cjs', PROGRAM);
    write(
      person,
      'forkpoint.config.mjs',
      `export default { workers: 2, refork: 'off', keep: false, readyTimeoutMs: 1000 };\n`,
    );
    // A full collection would take shapes away at once, and the code that knows them with it.
    const flags = ['--allow-natives-syntax', '--retain-maps-for-n-gc=0'];
    const running = person.forkpoint(['serve', '--', nodeBinary(24), ...flags, program], {
      env: { PORT: String(port), FORKPOINT_NODE: nodeBinary(24) },
      timeoutMs: 120_000,
    });
    await running.output(/^2 workers serve/m, 60_000);
    return running;
  };
  const readyOf = async (mold: number): Promise<number[]> =>
    await eventually(
      async () => {
        const { workers } = await statusOf(person);
        const isWhole =
          workers.length === 2 && workers.every((one) => one.mold === mold && one.state === 'ready');
        return isWhole ? workers.map(({ pid }) => Number(pid)) : undefined;
      },
      `two workers of image ${mold}`,
      60_000,
    );

  test('goes back to the image before when workers crash or hang, then to a cold start, and serves all the time, with the code that its mold had compiled', async () => {
    const port = await freePort();
    const running = await begin(port);
    const [start = '', , isOptimized] = (await fetchText(port)).split(' ');
    assert.equal(isOptimized, 'true', 'a worker has the compiled code of its mold');
    const load = new Load(port);

    // A generation that fails is given up after three workers with longer and longer pauses between them.
    for (const [image, fault, failure] of [
      [1, 'crash 2', 'ended with code 7 before it was ready'],
      [2, 'hang 2', 'was not ready within 1000 ms'],
    ] as const) {
      write(person, 'fault', fault);
      running.child.kill('SIGUSR2');
      const broken = new RegExp(
        `^Warning: image ${image} is broken: 3 of its workers failed one after another; back to image 0$`,
        'm',
      );
      await running.output(broken, 60_000);
      const told = [
        ...running.stderr.matchAll(/^Warning: worker \d+ (.*); the next one starts in (\d+) ms$/gm),
      ];
      assert.deepEqual(
        told.slice(-3).map(([, what, pause]) => [what, pause]),
        ['250', '500', '1000'].map((pause) => [failure, pause]),
      );
    }
    const pids = await readyOf(0);
    await load.end();
    assert.deepEqual(load.errors, []);
    // What a worker has compiled it may give up itself, whenever it collects its garbage.
    const served = new Set(load.answers.map((text) => text.replace(/ (?:true|false)$/, '')));
    assert.deepEqual([...served], [`${start} 1`], 'the old generation serves');

    // Now the last image fails as well, and the program itself is mended.
    write(person, 'fault', 'crash 1');
    write(person, 'fixed', '');
    process.kill(pids[0] ?? 0, 'SIGKILL');
    await running.output(
      /^Warning: image 0 is broken: 3 of its workers failed one after another; the program is started anew$/m,
      60_000,
    );
    await running.output(/^image 3 of generation 0 was made from a cold start$/m, 60_000);
    await readyOf(3);
    assert.notEqual((await fetchText(port)).split(' ')[0], start);
    rmSync(join(person.scratch, 'fault'));
    assert.equal((await running.stop('SIGTERM')).code, 0);
  });
});
