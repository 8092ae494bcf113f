import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeImage, type ImageSource, pageRuns, summarize } from '@forkpoint/image';
import { rewrite } from '../src/index.ts';
import { applied, edited, fixture } from './images.ts';

function contentOf(source: ImageSource, shmid: number): string {
  const name = `pagemap-shmem-${shmid}.img`;
  const file = decodeImage(name, source.read(name));
  assert.ok(file.kind === 'pagemap');
  const runs = pageRuns(file).map(({ address, pageCount }) => `${address / 4096}+${pageCount}`);
  return `pages-${file.head.pagesId}.img ${runs.join(' ')}`;
}

function memfdAreas(source: ImageSource): string[] {
  const areas = summarize(source).processes.flatMap((process) => process.areas);
  return areas
    .filter(({ kind }) => kind === 'memfd')
    .map(({ path, flags }) => `${path} ${flags & 3 ? flags : ''}`);
}

describe('mapped memfds', () => {
  const zoo = fixture('zoo');
  const result = rewrite(zoo);
  const after = applied(zoo, result);

  it('are one file with their descriptor again, shared and private, in every process', () => {
    const [root, , , child] = summarize(after).processes;
    for (const process of [root, child]) {
      const areas = process?.areas.filter(({ kind }) => kind === 'memfd');
      assert.deepEqual(
        areas?.map(({ path, flags, object }) => ({ path, flags, object })),
        [
          { path: 'memfd:short', flags: 1, object: 5 },
          { path: 'memfd:whole', flags: 2, object: 4 },
          { path: 'memfd:whole', flags: 1, object: 4 },
        ],
      );
    }
    assert.equal(result.notes.filter(({ code }) => code === 'memfd-repaired').length, 2);
  });

  it('have all their pages, though a shorter mapping has overwritten the list of them', () => {
    assert.equal(contentOf(zoo, 6), 'pages-6.img 0+1');
    assert.equal(contentOf(after, 6), 'pages-2.img 0+4');
    assert.equal(contentOf(after, 5), 'pages-5.img 0+4');
    assert.deepEqual(result.unused, ['pages-1.img', 'pages-6.img']);
  });

  it('are reported when they are closed and mapped privately, for nothing has their pages', () => {
    const closed = edited(zoo, 'memfd', 'memfd.img', (file) => {
      file.entries = [];
    });
    const lost = rewrite(closed).notes.filter(({ severity }) => severity === 'lost');
    assert.equal(lost.length, 2);
    assert.match(lost[0]?.message ?? '', /0x7f9551c3c000 of process 7001 is a private mapping/);
  });

  it('stay as they are in an image that is right', () => {
    const again = rewrite(after);
    assert.ok(!again.files.has('mm-7001.img'));
    assert.equal(contentOf(applied(after, again), 6), 'pages-2.img 0+4');
  });
});

describe('shared memory', () => {
  const shm = fixture('shm');
  const result = rewrite(shm);
  const after = applied(shm, result);

  it('mapped from its middle on is put in its place', () => {
    assert.equal(contentOf(shm, 1146), 'pages-6.img 0+8');
    assert.equal(contentOf(after, 1146), 'pages-6.img 3+5');
    assert.ok(result.notes.some(({ code }) => code === 'shared-memory-repaired'));
  });

  it('of a memfd is kept where a mapping shows all of it, in whatever pieces', () => {
    assert.equal(contentOf(after, 1147), contentOf(shm, 1147)); // sparse, mapped whole
    assert.equal(contentOf(after, 1150), contentOf(shm, 1150)); // split by mprotect
    assert.equal(contentOf(after, 1148), 'pages-2.img 0+6'); // mapped from page 2 on
    assert.equal(memfdAreas(after).length, 7);
  });

  it('is reported where it cannot be repaired: a sparse memfd mapped in part', () => {
    const lost = result.notes.filter(({ severity }) => severity === 'lost');
    assert.deepEqual(
      lost.map(({ code }) => code),
      ['memfd-lost'],
    );
    assert.match(lost[0]?.message ?? '', /partsparse/);
  });

  /** The same image, in which so many pages of the memfd that is mapped in part, and of what its mapping shows, are not zeros. */
  function withData(own: number, shown: number): ImageSource {
    const data: Record<string, number> = { 'pages-3.img': own, 'pages-9.img': shown };
    const readRange = (name: string, offset: number, length: number): Uint8Array => {
      const bytes = new Uint8Array(shm.size(name));
      for (let page = 0; page < (data[name] ?? 0); page++) bytes[page * 4096 + 7] = 1;
      return bytes.subarray(offset, offset + length);
    };
    return { ...shm, readRange };
  }

  it('of a sparse memfd is kept where all that is not zeros is mapped, from its start on', () => {
    const { notes, files } = rewrite(withData(1, 1));
    assert.ok(notes.every(({ severity }) => severity !== 'lost'));
    assert.ok(notes.some(({ message }) => message.includes('partsparse')));
    assert.ok(!files.has('pagemap-shmem-1149.img'));
  });

  it('of a sparse memfd is reported where there is more than its mapping shows', () => {
    assert.ok(rewrite(withData(2, 1)).notes.some(({ code }) => code === 'memfd-lost'));
  });

  it('is reported where its pieces are apart', () => {
    const image = edited(shm, 'mm', 'mm-7001.img', ({ entries }) => {
      const area = entries[0]?.message.vmas.find(({ shmid }) => shmid === 1146n);
      assert.ok(area);
      const apart = { ...area, start: area.start + 0x100_0000n, end: area.end + 0x100_0000n, pgoff: 0n };
      entries[0]?.message.vmas.push(apart);
    });
    assert.ok(rewrite(image).notes.some(({ code }) => code === 'shared-memory-lost'));
  });
});
