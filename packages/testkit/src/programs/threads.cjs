// Worker threads of the kinds that are named on the command line. SIGUSR1 is answered with a line that tells how each is doing.
// SIGHUP starts a native call that ends when somebody writes into the FIFO ./gate. SIGUSR2 asks for a checkpoint into ./own. SIGWINCH starts one more worker, with an environment of its own, and asks for a checkpoint in the same turn, whose before hook starts another.
// Every kind that can print prints its random values again and again: `draws KIND VALUE...`.
// oxlint-disable unicorn/require-post-message-target-origin, max-lines-per-function -- worker threads have no origin, and get the text of one function
const { MessageChannel, Worker } = require('node:worker_threads');
const { Core, checkpoint } = require('forkpoint');

const kinds = process.argv.slice(2);
const COUNTERS = 64;
const shared = new SharedArrayBuffer(8 * COUNTERS);
const counts = new Int32Array(shared, 0, COUNTERS);

function inWorker() {
  const { writeSync } = require('node:fs');
  const { setPriority } = require('node:os');
  const { MessageChannel, Worker: Thread, parentPort, workerData } = require('node:worker_threads');
  const { shared: memory, kind, index, source } = workerData;
  const counters = new Int32Array(memory, 0, 64);
  const crypto = require('node:crypto');
  // Writes by itself: console.log of a worker goes through the main thread.
  const draw = () => {
    const values = [
      crypto.randomBytes(8).toString('hex'),
      crypto.randomUUID(),
      crypto.randomInt(2 ** 47),
      ...crypto.getRandomValues(new BigUint64Array(1)),
      Math.random(),
    ];
    writeSync(1, `draws ${kind} ${values.join(' ')}\n`);
  };
  const count = () => Atomics.add(counters, index, 1);
  const behaviours = {
    // Never returns to its event loop. Others go first: a thread that computes for ever shows what it shows without half a machine.
    busy() {
      setPriority(19);
      for (;;) {
        if ((count() & 0xffff) === 0) draw();
      }
    },
    // Waits for memory most of the time.
    wait() {
      for (;;) {
        Atomics.wait(counters, 63, 0, 10);
        count();
        draw();
      }
    },
    idle() {
      draw();
      parentPort.on('message', (message) => {
        count();
        draw();
        parentPort.postMessage({ kind, echo: message });
      });
    },
    ports() {
      const { port1, port2 } = new MessageChannel();
      port1.on('message', (value) => {
        count();
        draw();
        setTimeout(() => port2.postMessage(value + 1), 5);
      });
      port2.on('message', (value) => port1.postMessage(value + 1));
      port2.postMessage(0);
    },
    nest() {
      draw();
      setInterval(draw, 25);
      const inner = new Thread(source, {
        eval: true,
        workerData: { shared: memory, kind: 'nested', index, source },
      });
      inner.on('error', (error) => writeSync(1, `nested ${error.message}\n`));
    },
    nested() {
      behaviours.wait();
    },
    wasm() {
      // (module (import "m" "s" (memory 1 1 shared)) (func (export "f") (loop (i32.atomic.rmw.add ...) (br 0))))
      const bytes = new Uint8Array([
        0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 2, 9, 1, 1, 109, 1, 115, 2, 3, 1, 1, 3, 2, 1, 0, 7, 5,
        1, 1, 102, 0, 0, 10, 18, 1, 16, 0, 3, 64, 65, 0, 65, 1, 254, 30, 2, 0, 26, 12, 0, 11, 11,
      ]);
      setPriority(19);
      const wasmMemory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
      parentPort.postMessage({ kind, memory: wasmMemory });
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { m: { s: wasmMemory } });
      exports.f();
    },
    // As the workers of thread pools: asleep in Atomics.wait until there is a message to take.
    pool() {
      const { receiveMessageOnPort } = require('node:worker_threads');
      const { port, flag } = workerData;
      for (;;) {
        Atomics.wait(flag, 0, 0);
        Atomics.store(flag, 0, 0);
        for (let task = receiveMessageOnPort(port); task !== undefined; task = receiveMessageOnPort(port)) {
          count();
          draw();
          port.postMessage(task.message * 2);
        }
      }
    },
    native() {
      parentPort.on('message', () => {
        require('node:child_process').execSync('rm -f gate; mkfifo gate; echo native begins; cat gate', {
          stdio: 'inherit',
        });
        count();
        draw();
      });
    },
  };
  parentPort?.postMessage({ kind, up: true });
  behaviours[kind]();
}

const source = `(${String(inWorker)})()`;
const echoes = [];
let wasm = null;
let up = 0;

/** Gives a task to a worker of kind `pool` whenever it has done one. */
function feed(port, flag) {
  let task = 0;
  const give = () => {
    port.postMessage(++task);
    Atomics.store(flag, 0, 1);
    Atomics.notify(flag, 0);
  };
  port.on('message', (answer) => {
    if (answer !== 2 * task) console.log(`pool failed: ${answer} for ${task}`);
    setTimeout(give, 5);
  });
  give();
}

function start(kind, index, options = {}) {
  const { port1, port2 } = new MessageChannel();
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const workerData = { shared, kind, index, source, port: port2, flag };
  const worker = new Worker(source, {
    eval: true,
    name: kind,
    workerData,
    transferList: [port2],
    ...options,
  });
  if (kind === 'pool') feed(port1, flag);
  worker.on('message', (message) => {
    if (message.memory !== undefined) wasm = new Int32Array(message.memory.buffer);
    if (message.echo !== undefined) echoes.shift()?.(message.echo);
    if (message.up === true && ++up === kinds.length) console.log('threads up');
  });
  worker.on('error', (error) => console.log(`${kind} failed: ${error.message}`));
  return worker;
}

const workers = kinds.map((kind, index) => start(kind, index));
let beats = 0;
let last = [];

async function state() {
  const now = kinds.map((kind, index) => (kind === 'wasm' ? (wasm?.[0] ?? 0) : Atomics.load(counts, index)));
  const moved = kinds.filter((_, index) => now[index] !== last[index]);
  last = now;
  const idle = workers[kinds.indexOf('idle')];
  const echo =
    idle === undefined ? 0 : await new Promise((resolve) => (echoes.push(resolve), idle.postMessage(beats)));
  console.log(`beat ${++beats} echo ${echo} moved ${moved.join(' ')}.`);
}

async function own() {
  const outcome = await checkpoint('./own').then(
    (result) => result.outcome,
    (error) => `failed ${error.code} ${error.message}`,
  );
  console.log(`own ${outcome}`);
}

process.on('SIGUSR1', () => void state());
process.on('SIGUSR2', () => void own());
/** Starts a worker that the library does not reach through its environment. */
function bear() {
  kinds.push('wait');
  workers.push(start('wait', kinds.length - 1, { env: {} }));
}
let isBearing = false;
// Resources are held weakly.
globalThis.resource = {
  beforeCheckpoint() {
    if (isBearing) bear();
    isBearing = false;
  },
  afterRestore() {},
};
Core.getGlobalContext().register(globalThis.resource);
process.on('SIGWINCH', () => {
  isBearing = true;
  bear();
  void own();
});
process.on('SIGHUP', () => workers[kinds.indexOf('native')]?.postMessage('begin'));
setInterval(() => undefined, 1000);
