import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeImage, encodeImage, environmentNames, ImageError, summarize } from '../src/index.ts';
import type { pagemap_head } from '../src/gen/pagemap_pb.ts';
import { pagemapEntry, PAGE_PRESENT } from '../src/pages.ts';
import { fixture, withFiles } from './fixture.ts';
import { create } from '../src/message.ts';
import { schema } from '../src/schema.ts';

const headOf = schema<pagemap_head>('pagemap_head');

describe('summarize', () => {
  const zoo = summarize(fixture('zoo'));
  const [root, killed, exited, child] = zoo.processes;

  it('tells the process tree with the wait status of zombies', () => {
    assert.deepEqual(
      zoo.processes.map(({ pid, ppid, state, threads }) => ({ pid, ppid, state, threads })),
      [
        { pid: 7001, ppid: 0, state: 'running', threads: [7001] },
        { pid: 7002, ppid: 7001, state: 'zombie', threads: [7002] },
        { pid: 7003, ppid: 7001, state: 'zombie', threads: [7003] },
        { pid: 7004, ppid: 7001, state: 'running', threads: [7004] },
      ],
    );
    assert.equal(killed?.waitStatus, 9);
    assert.equal(exited?.waitStatus, 3 << 8);
    assert.equal(root?.comm, 'zoo');
    assert.equal(root?.exe, '/srv/fixture/zoo');
    assert.equal(root?.cwd, '/srv/fixture');
    assert.equal(child?.root, '/');
    assert.equal(summarize(fixture('node')).processes[0]?.threads.length, 11);
  });

  it('names every descriptor', () => {
    const found = root?.descriptors.map(
      ({ fd, kind, path, state }) => `${fd} ${kind} ${path ?? ''} ${state ?? ''}`,
    );
    assert.deepEqual(found?.slice(0, 11), [
      '0 file /dev/null ',
      '1 file /srv/fixture/ctl/out ',
      '2 file /srv/fixture/ctl/out ',
      '3 memfd memfd:whole ',
      '4 memfd memfd:short ',
      '5 tcp  listen',
      '6 unix /srv/fixture/ctl/u.sock listen',
      '7 unix @forkpoint-zoo listen',
      '8 unix /srv/fixture/ctl/d.sock unconnected',
      '9 udp  unconnected',
      '10 unix /srv/fixture/ctl/busy.sock listen',
    ]);
    assert.deepEqual(
      root?.descriptors.slice(15).map(({ kind }) => kind),
      'eventpoll eventfd timerfd signalfd pipe pipe unix unix fifo fifo file file'.split(' '),
    );
    const tcp = root?.descriptors[5];
    assert.equal(`${tcp?.address}:${tcp?.port}`, '127.0.0.1:34561');
    assert.deepEqual(root?.descriptors[15]?.watches, [6, 5]);
  });

  it('tells memory areas and dumped pages', () => {
    const kinds = root?.areas.map(({ kind }) => kind);
    assert.deepEqual(kinds, [
      ...Array.from({ length: 5 }, () => 'file'),
      'anon',
      'heap',
      'shared',
      'anon',
      'shared',
      'vvar',
      'vdso',
      'stack',
    ]);
    assert.equal(root?.areas[0]?.path, '/srv/fixture/zoo');
    assert.deepEqual(root?.dumped, { pages: 19, bytes: 77_824, parentPages: 0 });
    assert.equal(zoo.dumped.pages, 19 + 18 + 4 + 1);
  });

  it('tells clocks, credentials and the files that have to exist', () => {
    assert.equal(zoo.clocks?.monotonic.seconds, 1688);
    assert.equal(zoo.clocks?.boottime.seconds, 1688);
    assert.equal(root?.credentials?.uid, 4321);
    assert.equal(root?.credentials?.capabilities.effective, 0n);
    const program = zoo.files.find(({ path }) => path === '/srv/fixture/zoo');
    assert.deepEqual(program, {
      path: '/srv/fixture/zoo',
      kind: 'file',
      size: 782_960,
      isMapped: true,
      isWritable: false,
    });
    const kindOf = (path: string): string | undefined => zoo.files.find((file) => file.path === path)?.kind;
    assert.equal(kindOf('/dev/null'), 'device');
    assert.equal(kindOf('/srv/fixture/other/fifo'), 'fifo');
    assert.equal(kindOf('/srv/fixture'), 'directory');
  });

  it('says which file an image lacks', () => {
    assert.throws(() => summarize({ names: [], read: () => new Uint8Array(0) }), {
      name: 'ImageError',
      code: 'ERR_FORKPOINT_IMAGE_MISSING',
      file: 'pstree.img',
    });
  });
});

describe('environmentNames', () => {
  const source = fixture('zoo');
  const mm = decodeImage('mm-7001.img', source.read('mm-7001.img'));
  assert.ok(mm.kind === 'mm');
  const memory = mm.entries[0]?.message;
  assert.ok(memory);
  const start = 0x7000_0000_0ff8;
  const text = new TextEncoder().encode('PATH=/bin\0EMPTY=\0=odd\0NOVALUE\0HOME=/a=b\0');
  memory.mmEnvStart = BigInt(start);
  memory.mmEnvEnd = BigInt(start + text.length);
  const pagemap = encodeImage({
    kind: 'pagemap',
    name: 'pagemap-7001.img',
    head: create(headOf(), { pagesId: 9 }),
    entries: [
      pagemapEntry(0x1000, 3, PAGE_PRESENT),
      pagemapEntry(0x7000_0000_0000, 1, PAGE_PRESENT),
      pagemapEntry(0x7000_0000_1000, 1, PAGE_PRESENT),
    ],
  });
  const image = withFiles(
    source,
    new Map([
      ['mm-7001.img', encodeImage(mm)],
      ['pagemap-7001.img', pagemap],
    ]),
  );

  it('reads the names, and only the bytes of the environment', () => {
    const pages = new Uint8Array(5 * 4096);
    pages.set(text, 3 * 4096 + 0xff8);
    let length = 0;
    const names = environmentNames(image, 7001, (name, offset, size) => {
      assert.equal(name, 'pages-9.img');
      length += size;
      return pages.subarray(offset, offset + size);
    });
    assert.deepEqual(names, ['PATH', 'EMPTY', 'HOME']);
    assert.equal(length, text.length);
  });

  it('refuses an environment larger than the kernel makes', () => {
    memory.mmEnvEnd = BigInt(start + 2 ** 30);
    const huge = withFiles(image, new Map([['mm-7001.img', encodeImage(mm)]]));
    assert.throws(() => environmentNames(huge, 7001, () => new Uint8Array(0)), ImageError);
  });
});
