// What V8 and Node's buffers promise on memory that may be linked: content that stays, zeros in what is new.
// Usage: v8.cjs IMAGE1 IMAGE2
'use strict';
const fs = require('node:fs');

const MB = 1 << 20;
let failures = 0;

function need(isRight, what) {
  if (isRight) return;
  console.log(`bad ${what}`);
  failures++;
}

/** The ten lines of docs/protocol.md. */
function checkpoint(to) {
  const directory = process.env.FORKPOINT_DIR;
  const request = {
    v: 1,
    op: 'checkpoint',
    pid: process.pid,
    to,
    stop: true,
    link: process.env.HAZARDS_PLAIN === undefined,
  };
  fs.writeFileSync(`${directory}/request`, `${JSON.stringify(request)}\n`);
  const outcome = fs.readFileSync(`${directory}/outcome`, 'utf8');
  if (!outcome.includes('"restored"')) {
    console.log(`no restore: ${outcome}`);
    process.exit(2);
  }
}

const isZero = (bytes) => bytes.every((byte) => byte === 0);
const isFull = (bytes, value) => bytes.every((byte) => byte === value);

const objects = Array.from({ length: 150_000 }, (_, i) => ({ i, text: `value ${i}` }));
const buffers = Array.from({ length: 40 }, (_, i) => Buffer.alloc((i + 1) * 40_000, i + 1));
const resizable = new ArrayBuffer(32 * MB, { maxByteLength: 64 * MB });
new Uint8Array(resizable).fill(7);
const shared = new SharedArrayBuffer(8 * MB, { maxByteLength: 64 * MB });
new Uint8Array(shared).fill(9);
const memory = new WebAssembly.Memory({ initial: 100, maximum: 2000 });
new Uint8Array(memory.buffer).fill(11);

for (const [generation, image] of process.argv.slice(2).entries()) {
  checkpoint(image);
  need(
    objects.every(({ i, text }, at) => i === at && text === `value ${at}`),
    'objects',
  );
  need(
    buffers.every((buffer, i) => isFull(buffer, i + 1)),
    'buffers',
  );
  need(isFull(new Uint8Array(resizable, 0, 4 * MB), 7), 'a resizable buffer');
  resizable.resize((4 - generation) * MB);
  resizable.resize(32 * MB);
  need(isZero(new Uint8Array(resizable, (4 - generation) * MB)), 'zeros after shrinking and growing');
  new Uint8Array(resizable).fill(7);
  const before = shared.byteLength;
  shared.grow(before + 8 * MB);
  need(isFull(new Uint8Array(shared, 0, before).subarray(0, 8 * MB), 9), 'a shared buffer');
  need(isZero(new Uint8Array(shared, before)), 'zeros where it grew');
  const pages = memory.grow(100);
  need(isZero(new Uint8Array(memory.buffer, pages * 65_536)), 'zeros where WebAssembly memory grew');
  need(isFull(new Uint8Array(memory.buffer, 0, 100 * 65_536), 11), 'WebAssembly memory');
  for (let round = 0; round < 5; round++) {
    buffers.splice(0, 10);
    buffers.splice(0, buffers.length);
    for (let i = 0; i < 40; i++) {
      const fresh = Buffer.alloc((i + 1) * 40_000);
      const typed = new Uint8Array((i + 1) * 30_000);
      need(isZero(fresh) && isZero(typed), 'zeros in new buffers');
      buffers.push(fresh.fill(i + 1));
    }
    globalThis.gc?.();
  }
  for (let i = 0; i < objects.length; i += 3) objects[i] = { i, text: `value ${i}` };
}
console.log(failures === 0 ? 'ok' : 'bad');
process.exit(failures === 0 ? 0 : 1);
