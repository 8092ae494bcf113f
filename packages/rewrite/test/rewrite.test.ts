import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { summarize } from '@forkpoint/image';
import { rewrite } from '../src/index.ts';
import { applied, edited, fixture, messages } from './images.ts';

describe('rewrite', () => {
  const zoo = fixture('zoo');

  it('returns only the files that changed', () => {
    const result = rewrite(fixture('node'));
    assert.deepEqual([...result.files.keys()].sort(), ['fdinfo-2.img', 'files.img']);
    assert.deepEqual(result.notes, []);
    assert.deepEqual(result.unused, []);
    const ids = result.slots.map(({ id }) => id).sort();
    assert.deepEqual(ids, ['stdin', 'stdout', 'tcp-34570', 'unix-node.sock']);
  });

  it('reads no pages', () => {
    const read = (name: string): Uint8Array => {
      assert.doesNotMatch(name, /^pages-/);
      return zoo.read(name);
    };
    const source = { names: zoo.names, size: zoo.size, read };
    assert.ok(rewrite(source).slots.length > 0);
    assert.ok(summarize(source).processes.length > 0);
  });

  it('does not touch the source', () => {
    const before = zoo.read('files.img').slice();
    rewrite(zoo);
    assert.deepEqual(zoo.read('files.img'), before);
  });

  it('lets logs go on and keeps the checks of everything else', () => {
    const image = edited(zoo, 'files', 'files.img', ({ entries }) => {
      for (const { message } of entries) {
        if (message.reg?.name === '/srv/fixture/other/log')
          Object.assign(message.reg, { size: 5n, checksum: 1 });
      }
    });
    const result = applied(image, rewrite(image));
    const byName = new Map(
      messages(result, 'files', 'files.img').entries.flatMap(({ message }) =>
        message.reg ? [[message.reg.name, message.reg] as const] : [],
      ),
    );
    const log = byName.get('/srv/fixture/other/log');
    assert.ok(log);
    for (const field of ['size', 'mode', 'checksum']) assert.ok(!Object.hasOwn(log, field), field);
    assert.equal(log.pos, 5n);
    const program = byName.get('/srv/fixture/zoo');
    assert.equal(program?.size, 782_960n);
    assert.equal(program?.buildId.length, 5);
    assert.equal(byName.get('/etc/hostname')?.size, 3n);
  });

  it('drops what is in flight in the control directory only', () => {
    const bytesOf = (ctlPath?: string): number[] => {
      const result = rewrite(zoo, ctlPath === undefined ? {} : { ctlPath });
      return messages(applied(zoo, result), 'fifo-data', 'fifo-data.img').entries.map(
        ({ message }) => message.pipeId,
      );
    };
    assert.deepEqual(bytesOf(), [9_986_304, 9_986_305]);
    assert.deepEqual(bytesOf('/srv/fixture/ctl'), [9_986_305]);
    assert.deepEqual(bytesOf('/srv/fixture/ctl/'), [9_986_305]);
    assert.deepEqual(bytesOf('/srv/fixture/c'), [9_986_304, 9_986_305]);
    const pipes = messages(applied(zoo, rewrite(zoo)), 'pipes-data', 'pipes-data.img').entries;
    assert.equal(new TextDecoder().decode(pipes[0]?.payload), 'in the pipe');
  });

  it('empties supplementary groups and, when asked to, capability sets', () => {
    const image = edited(zoo, 'core', 'core-7001.img', ({ entries }) => {
      const creds = entries[0]?.message.threadCore?.creds;
      assert.ok(creds);
      Object.assign(creds, { groups: [4, 27], capEff: [8, 0], capBnd: [0xff, 1] });
    });
    const plain = summarize(applied(image, rewrite(image))).processes[0]?.credentials;
    assert.deepEqual(plain?.groups, []);
    assert.equal(plain?.capabilities.effective, 8n);
    assert.equal(plain?.capabilities.bounding, 0x1_0000_00ffn);
    const cleared = rewrite(image, { clearCapabilities: true });
    for (const { credentials } of summarize(applied(image, cleared)).processes) {
      if (!credentials) continue; // zombies have none
      assert.deepEqual(credentials.capabilities, {
        permitted: 0n,
        effective: 0n,
        inheritable: 0n,
        bounding: 2n ** 64n - 1n,
        ambient: 0n,
      });
    }
  });

  it('gives zombies the wait status that an earlier image knows', () => {
    const second = edited(zoo, 'core', 'core-7002.img', ({ entries }) => {
      const task = entries[0]?.message.tc;
      assert.ok(task);
      task.exitCode = 0;
    });
    const statuses = (zombies: Map<number, number>): (number | undefined)[] =>
      summarize(applied(second, rewrite(second, { zombies }))).processes.map(({ waitStatus }) => waitStatus);
    assert.deepEqual(statuses(new Map()), [undefined, 0, 768, undefined]);
    // 7003 has a status of its own, 7004 lives.
    const known = new Map([
      [7002, 9],
      [7003, 11],
      [7004, 6],
    ]);
    assert.deepEqual(statuses(known), [undefined, 9, 768, undefined]);
  });

  it('refuses an image without processes', () => {
    assert.throws(() => rewrite({ names: [], read: () => new Uint8Array(0) }), {
      code: 'ERR_FORKPOINT_IMAGE_MISSING',
    });
  });
});
