import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FILE_TYPES, summarize } from '@forkpoint/image';
import { rewrite } from '../src/index.ts';
import { applied, edited, fixture, messages } from './images.ts';

describe('listening sockets', () => {
  const zoo = fixture('zoo');
  const result = rewrite(zoo);
  const after = summarize(applied(zoo, result)).processes[0]?.descriptors ?? [];

  it('become slots with what is needed to make them again', () => {
    assert.deepEqual(
      result.slots.find(({ kind }) => kind === 'tcp'),
      {
        id: 'tcp-34561',
        key: 'fp-slot/tcp-34561',
        kind: 'tcp',
        flags: 0o4002,
        isPollable: true,
        fds: [
          { pid: 7001, fd: 5 },
          { pid: 7004, fd: 5 },
        ],
        was: 'tcp',
        family: 4,
        address: '127.0.0.1',
        port: 34_561,
        backlog: 511,
        options: ['reuseaddr'],
      },
    );
    const unix = result.slots.filter(({ kind }) => kind === 'unix');
    assert.deepEqual(
      unix.map(
        (slot) => slot.kind === 'unix' && [slot.id, slot.path, slot.socketType, slot.mode.toString(8)],
      ),
      [
        ['unix-u.sock', '/srv/fixture/ctl/u.sock', 'stream', '755'],
        ['unix-_forkpoint-zoo', '@forkpoint-zoo', 'seqpacket', '0'],
        ['unix-acc.sock', '/srv/fixture/ctl/acc.sock', 'stream', '755'],
      ],
    );
    assert.equal(after.find(({ fd }) => fd === 5)?.path, '/fp-slot/tcp-34561');
    assert.equal(after.find(({ fd }) => fd === 6)?.path, '/fp-slot/unix-u.sock');
  });

  it('stay when the program itself has a connection that is not accepted', () => {
    assert.equal(after.find(({ fd }) => fd === 10)?.state, 'listen');
    const note = result.notes.find(({ code }) => code === 'unix-listener-kept');
    assert.match(note?.message ?? '', /busy\.sock/);
  });

  it('lend their name to no connection that has lost its other end, deleted or not', () => {
    for (const deleted of [true, false]) {
      let id = 0;
      const lost = edited(zoo, 'files', 'files.img', (file) => {
        const socket = file.entries.find(
          ({ message }) => message.usk?.state === 1 && message.usk.type === 1,
        )?.message;
        assert.ok(socket?.usk);
        id = socket.id;
        Object.assign(socket.usk, { peer: 0, name: Buffer.from('/a.sock\0'), deleted });
      });
      const changed = messages(applied(lost, rewrite(lost)), 'files', 'files.img');
      const usk = changed.entries.find(({ message }) => message.id === id)?.message.usk;
      assert.deepEqual([usk?.name.length, usk?.deleted], [0, false]);
    }
  });

  it('leave connected, datagram and UDP sockets alone', () => {
    assert.deepEqual(
      [8, 9, 11, 13, 14].map((fd) => after.find((descriptor) => descriptor.fd === fd)?.kind),
      ['unix', 'udp', 'unix', 'unix', 'unix'],
    );
  });

  it('get ids of their own on one port, and keep their options', () => {
    const image = edited(zoo, 'files', 'files.img', ({ entries }) => {
      const udp = entries.find(({ message }) => message.isk?.proto === 17)?.message.isk;
      assert.ok(udp?.opts);
      Object.assign(udp, {
        proto: 6,
        type: 1,
        state: 10,
        family: 10,
        srcAddr: [0, 0, 0, 0],
        v6only: true,
        backlog: 7,
      });
      Object.assign(udp.opts, { reuseaddr: true, soReuseport: true });
    });
    const slots = rewrite(image).slots.filter(({ kind }) => kind === 'tcp');
    assert.deepEqual(
      slots.map(
        (slot) => slot.kind === 'tcp' && [slot.id, slot.family, slot.address, slot.options.join(' ')],
      ),
      [
        ['tcp-34561', 4, '127.0.0.1', 'reuseaddr'],
        ['tcp-34561-2', 6, '::', 'reuseaddr reuseport v6only'],
      ],
    );
  });

  it('have the type of a file in every table of descriptors', () => {
    const image = applied(zoo, result);
    for (const name of ['fdinfo-2.img', 'fdinfo-3.img']) {
      const entry = summarize(image).processes[0]?.descriptors.find(({ fd }) => fd === 5);
      assert.equal(entry?.kind, 'file', name);
    }
    assert.equal(FILE_TYPES.file, 1);
  });
});
