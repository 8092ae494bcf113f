import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FILE_TYPES, type ImageSource, summarize } from '@forkpoint/image';
import { rewrite, type Slot } from '../src/index.ts';
import { applied, edited, fixture, messages, NOBODY, put } from './images.ts';

const READ_ONLY = 0;
const WRITE_ONLY = 1;
const READ_WRITE = 2;
// In the recorded image 2 is /dev/null behind descriptor 0, 3 the log behind 1 and 2, of process 7001 and its child 7004.
const FREE_ID = 90;

function stdio(slots: readonly Slot[]): Record<string, string> {
  const found = slots.filter(({ kind }) => kind.startsWith('std'));
  return Object.fromEntries(
    found.map(({ id, was, fds }) => [id, `${was} ${fds.map(({ pid, fd }) => `${pid}:${fd}`).join(' ')}`]),
  );
}

function withPipe(
  source: ImageSource,
  id: number,
  pipeId: number,
  flags: number,
): Required<Omit<ImageSource, 'readRange'>> {
  return edited(source, 'files', 'files.img', (files) => {
    put(files, { type: FILE_TYPES.pipe, id, pipe: { id, pipeId, flags, fown: NOBODY } });
  });
}

function withDescriptor(
  source: ImageSource,
  table: number,
  fd: number,
  id: number,
): Required<Omit<ImageSource, 'readRange'>> {
  const type = messages(source, 'files', 'files.img').entries.find(({ message }) => message.id === id);
  return edited(source, 'fdinfo', `fdinfo-${table}.img`, (file) => {
    file.entries = file.entries.filter(({ message }) => message.fd !== fd);
    put(file, { id, flags: 0, type: type?.message.type ?? 0, fd });
  });
}

function withTerminal(
  source: ImageSource,
  id: number,
  info: number,
  path: string,
): Required<Omit<ImageSource, 'readRange'>> {
  const named = edited(source, 'files', 'files.img', (files) => {
    const regfId = id + 1000;
    put(files, {
      type: 1,
      id: regfId,
      reg: { id: regfId, flags: READ_WRITE, pos: 0n, fown: NOBODY, name: path },
    });
    put(files, {
      type: FILE_TYPES.tty,
      id,
      tty: { id, ttyInfoId: info, flags: READ_WRITE, fown: NOBODY, regfId },
    });
  });
  return edited(named, 'tty-info', 'tty-info.img', (file) => {
    const common = { locked: false, exclusive: false, packetMode: false, sid: 7001, pgrp: 7001, rdev: 0 };
    put(file, { id: info, type: 1, ...common, pty: { index: 4 } });
  });
}

describe('standard streams', () => {
  const zoo = fixture('zoo');

  it('become slots that all descriptors of the description follow', () => {
    const result = rewrite(zoo);
    assert.deepEqual(stdio(result.slots), {
      stdin: 'file 7001:0 7004:0',
      stdout: 'file 7001:1 7001:2 7004:1 7004:2',
    });
    const stdout = result.slots.find(({ id }) => id === 'stdout');
    assert.ok(stdout?.kind === 'stdout');
    assert.equal(stdout.key, 'fp-slot/stdout');
    assert.equal(stdout.wasPath, '/srv/fixture/ctl/out');
    assert.equal(stdout.flags & 0o2000, 0o2000); // O_APPEND
    assert.equal(stdout.isPollable, false);
    const [root, , , child] = summarize(applied(zoo, result)).processes;
    assert.deepEqual(
      [root, child].map((process) => process?.descriptors.slice(0, 3).map(({ path }) => path)),
      Array.from({ length: 2 }, () => ['/fp-slot/stdin', '/fp-slot/stdout', '/fp-slot/stdout']),
    );
  });

  it('become three slots when each has its own description', () => {
    const image = withDescriptor(withPipe(zoo, FREE_ID, 5555, WRITE_ONLY), 2, 2, FREE_ID);
    const result = rewrite(image);
    assert.deepEqual(stdio(result.slots), {
      stdin: 'file 7001:0 7004:0',
      stdout: 'file 7001:1 7004:1 7004:2',
      stderr: 'pipe 7001:2',
    });
  });

  it('are pollable when the program waits for them', () => {
    const image = edited(zoo, 'files', 'files.img', ({ entries }) => {
      const epoll = entries.find(({ message }) => message.epfd)?.message.epfd;
      const [watch] = epoll?.tfd ?? [];
      assert.ok(watch);
      watch.tfd = 0;
    });
    assert.equal(rewrite(image).slots.find(({ id }) => id === 'stdin')?.isPollable, true);
  });

  it('are separated where input and output share a description', () => {
    // A terminal on 0, 1, 2 and on 255, where a shell keeps it.
    let image: ImageSource = withTerminal(zoo, FREE_ID, 1, '/dev/pts/4');
    for (const fd of [0, 1, 2, 255]) image = withDescriptor(image, 2, fd, FREE_ID);
    for (const fd of [0, 1, 2]) image = withDescriptor(image, 3, fd, FREE_ID);
    const result = rewrite(image);
    assert.deepEqual(stdio(result.slots), {
      stdin: 'tty 7001:0 7001:255 7004:0',
      stdout: 'tty 7001:1 7001:2 7004:1 7004:2',
    });
    const ids = summarize(applied(image, result))
      .processes[0]?.descriptors.slice(0, 3)
      .map(({ file }) => file);
    assert.equal(new Set(ids).size, 2);
  });

  it('take along other descriptions of the same pipe in the same direction', () => {
    // The program has opened /dev/stdout by name on descriptor 30.
    let image = withPipe(withPipe(zoo, 3, 5555, WRITE_ONLY), FREE_ID, 5555, WRITE_ONLY);
    for (const [table, fd, id] of [
      [2, 1, 3],
      [2, 2, 3],
      [3, 1, 3],
      [3, 2, 3],
      [2, 30, FREE_ID],
    ] as const) {
      image = withDescriptor(image, table, fd, id);
    }
    const result = rewrite(image);
    assert.equal(stdio(result.slots)['stdout'], 'pipe 7001:1 7001:2 7001:30 7004:1 7004:2');
    const named = summarize(applied(image, result)).processes[0]?.descriptors.find(({ fd }) => fd === 30);
    assert.equal(named?.path, '/fp-slot/stdout');
  });

  it('follow the numbers where Node.js has opened its terminal anew and its children have the old description', () => {
    let image: ImageSource = zoo;
    for (const [index, fd] of [0, 1, 2].entries()) {
      image = withDescriptor(withTerminal(image, FREE_ID + index, 1, '/dev/pts/4'), 2, fd, FREE_ID + index);
    }
    image = withTerminal(image, FREE_ID + 3, 1, '/dev/pts/4');
    for (const fd of [0, 1, 2]) image = withDescriptor(image, 3, fd, FREE_ID + 3);
    assert.deepEqual(stdio(rewrite(image).slots), {
      stdin: 'tty 7001:0 7004:0',
      stdout: 'tty 7001:1 7004:1',
      stderr: 'tty 7001:2 7004:2',
    });
  });

  it('stay where the other end is inside, and are taken from the process that has the outside', () => {
    // exec > >(tee log): the root writes into a pipe that the child reads; the child has the log.
    let image = withPipe(withPipe(zoo, FREE_ID, 5555, WRITE_ONLY), FREE_ID + 1, 5555, READ_ONLY);
    image = withDescriptor(withDescriptor(image, 2, 1, FREE_ID), 2, 2, FREE_ID);
    image = withDescriptor(image, 3, 0, FREE_ID + 1);
    const result = rewrite(image);
    assert.deepEqual(stdio(result.slots), { stdin: 'file 7001:0', stdout: 'file 7004:1 7004:2' });
    assert.deepEqual(
      result.notes.filter(({ code }) => code === 'stdio-inside').map(({ fd }) => fd),
      [1, 2],
    );
    const kinds = summarize(applied(image, result)).processes[0]?.descriptors.map(({ kind }) => kind);
    assert.deepEqual(kinds?.slice(0, 3), ['file', 'pipe', 'pipe']);
  });

  it('leave a terminal of the program itself alone', () => {
    let image: ImageSource = withTerminal(
      withTerminal(zoo, FREE_ID, 1, '/dev/pts/4'),
      FREE_ID + 1,
      2,
      '/dev/ptmx',
    );
    image = withDescriptor(withDescriptor(image, 2, 0, FREE_ID), 3, 9, FREE_ID + 1);
    const result = rewrite(image);
    assert.deepEqual(Object.keys(stdio(result.slots)), ['stdout']);
    assert.ok(!result.notes.some(({ code }) => code === 'terminal-kept'));
  });

  it('say which terminal is left that only a terminal can restore', () => {
    const image = withDescriptor(withTerminal(zoo, FREE_ID, 1, '/dev/pts/4'), 2, 40, FREE_ID);
    const note = rewrite(image).notes.find(({ code }) => code === 'terminal-kept');
    assert.equal(note?.message, 'descriptor 40 of process 7001 is a terminal that is no standard stream');
  });

  it('forget that the file has been deleted', () => {
    const image = edited(zoo, 'remap-fpath', 'remap-fpath.img', (file) => {
      put(file, { origId: 3, remapId: 1, remapType: 1 });
      file.entries.push({ message: { ...file.entries[0]!.message, origId: 28 }, payload: new Uint8Array(0) });
    });
    const left = messages(applied(image, rewrite(image)), 'remap-fpath', 'remap-fpath.img').entries;
    assert.deepEqual(
      left.map(({ message }) => message.origId),
      [28],
    );
  });

  it('are found again in a rewritten image', () => {
    const first = rewrite(zoo);
    const second = rewrite(applied(zoo, first));
    assert.deepEqual(stdio(second.slots), stdio(first.slots));
  });
});
