import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PAGE_SIZE } from '@forkpoint/image';
import fc from 'fast-check';
import { cutOut, runsWithin } from '../src/pieces.ts';
import { area, bytes, memories, placesOf, run, stored } from './memory.ts';

describe('runsWithin', () => {
  test('cuts runs at both ends of the area, and the offset follows', () => {
    const { inside } = runsWithin(stored([0, 10], [20, 10]), area(4, 20), 0);
    assert.deepEqual(inside, [run(4, 6, 4), run(20, 4, 10)]);
  });

  test('joins runs that follow each other in memory and in the file', () => {
    const { inside } = runsWithin(stored([4, 2], [6, 3], [10, 1]), area(4, 10), 0);
    assert.deepEqual(inside, [run(4, 5, 0), run(10, 1, 5)]);
  });

  test('leaves out what is not in the pages file', () => {
    const { inside } = runsWithin(stored([4, 2], [6, -3], [9, 1]), area(4, 10), 0);
    assert.deepEqual(inside, [run(4, 2, 0), run(9, 1, 2)]);
  });

  test('goes on where the area before it ended, also within a run', () => {
    const runs = stored([4, 8], [20, 1]);
    const first = runsWithin(runs, area(4, 4), 0);
    const second = runsWithin(runs, area(8, 20), first.next);
    assert.deepEqual(first.inside, [run(4, 4, 0)]);
    assert.deepEqual(second.inside, [run(8, 4, 4), run(20, 1, 8)]);
  });

  test('over all areas, every stored page is found once, in order and at its place', () => {
    fc.assert(
      fc.property(memories(), ({ areas, runs }) => {
        let next = 0;
        const found = areas.flatMap((one) => {
          const within = runsWithin(runs, one, next);
          next = within.next;
          return within.inside;
        });
        const wanted = runs.map((one) => run(one.address / PAGE_SIZE, one.pageCount, one.firstPage ?? -1));
        assert.deepEqual([...placesOf(found)], [...placesOf(wanted)]);
      }),
    );
  });
});

describe('cutOut', () => {
  test('puts a page by itself at the start, in the middle and at the end of a run', () => {
    const alone = [0, 3, 5, 9].map(bytes);
    assert.deepEqual(cutOut([run(0, 6, 10), run(8, 2, 30)], alone), [
      run(0, 1, 10),
      run(1, 2, 11),
      run(3, 1, 13),
      run(4, 1, 14),
      run(5, 1, 15),
      run(8, 1, 30),
      run(9, 1, 31),
    ]);
  });

  test('loses no page, whatever is cut out', () => {
    const pages = fc.array(fc.nat(60), { maxLength: 12 });
    fc.assert(
      fc.property(pages, (cut) => {
        const runs = [run(2, 20, 0), run(25, 1, 20), run(30, 25, 21)];
        const pieces = cutOut(
          runs,
          cut.map(bytes).sort((a, b) => a - b),
        );
        assert.deepEqual([...placesOf(pieces)], [...placesOf(runs)]);
        const inside = placesOf(runs);
        for (const page of cut.filter((one) => inside.has(one))) {
          assert.ok(pieces.some(({ address, pages: count }) => address === bytes(page) && count === 1));
        }
      }),
    );
  });
});
