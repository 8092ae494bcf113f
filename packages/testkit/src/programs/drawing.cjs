// Draws from everything that is random, once before its image is taken, so that every cache and pool is filled, and then in each
// clone, which prints what it drew as a line of JSON: `drawing.cjs IMAGE NAMESERVER`.
// oxlint-disable unicorn/require-post-message-target-origin -- worker threads have no origin
'use strict';
const crypto = require('node:crypto');
const dns = require('node:dns');
const fs = require('node:fs');
const os = require('node:os');
const { join } = require('node:path');
const tls = require('node:tls');
const { once } = require('node:events');
const { promisify } = require('node:util');
const { Worker } = require('node:worker_threads');
const { Core } = require('forkpoint');

const { random: captured } = Math;
const { privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
const secret = Buffer.from('the same for all');
const times = (count, draw) => Array.from({ length: count }, draw).join(' ');
const hex = (bytes) => Buffer.from(bytes).toString('hex');

/** The r of an ECDSA signature: it is made from the nonce alone, so equal ones give the key away. */
const nonceOf = (signature) => hex(signature).slice(0, 64);

async function webKeys() {
  const { subtle } = crypto.webcrypto;
  const aes = await subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt']);
  const pair = await subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  return {
    webKey: hex(await subtle.exportKey('raw', aes)),
    webKeyPair: (await subtle.exportKey('jwk', pair.privateKey)).d,
    webSignature: nonceOf(await subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, web.key, secret)),
  };
}
const web = {};

/** Ids of queries, 16 bits each: the name server answers with them as addresses. */
async function dnsIds() {
  const names = Array.from({ length: 5 }, (_, n) => `name${n}.example`);
  const answers = [];
  for (const name of names) answers.push(await dns.promises.resolve4(name));
  return answers.join(' ');
}

/** A ticket that a TLS server gives a client, and the random bytes of both greetings. */
async function tlsTicket(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = tls.connect({ port: server.address().port, host: '127.0.0.1', rejectUnauthorized: false });
  const [session] = await once(client, 'session');
  client.destroy();
  await new Promise((done) => server.close(done));
  return crypto.createHash('sha256').update(session).digest('hex');
}

const worker = new Worker(
  `const { parentPort } = require('node:worker_threads');
   const crypto = require('node:crypto');
   parentPort.on('message', () => parentPort.postMessage(
     [crypto.randomUUID(), crypto.randomBytes(8).toString('hex'), crypto.randomInt(2 ** 47), Math.random(), Math.random()].join(' ')));`,
  { eval: true },
);
const fromWorker = () =>
  new Promise((done) => worker.once('message', done) && worker.postMessage({ ask: 'draw' }));

/** What stands between the parts of a form, as fetch sends it. */
function boundary() {
  const form = new FormData();
  form.set('a', 'b');
  return /boundary=(.*)/.exec(new Response(form).headers.get('content-type'))[1];
}

async function drawAll(libraries, server) {
  const { uuid, uuid9, nanoid3, nanoid5, ulid, monotonic, bson, cuid2 } = libraries;
  return {
    randomBytes: hex(crypto.randomBytes(16)),
    randomBytesAsync: hex(await promisify(crypto.randomBytes)(16)),
    randomFill: hex(crypto.randomFillSync(new Uint8Array(16))),
    randomUUID: crypto.randomUUID(),
    randomInt: times(4, () => crypto.randomInt(2 ** 47)),
    getRandomValues: hex(globalThis.crypto.getRandomValues(new Uint8Array(16))),
    keyPair: crypto.generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }).d,
    signature: nonceOf(crypto.sign('sha256', secret, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
    ...(await webKeys()),
    mathRandom: times(3, () => Math.random()),
    capturedRandom: times(3, () => captured()),
    worker: await fromWorker(),
    dnsIds: await dnsIds(),
    formBoundary: times(3, boundary),
    tlsTicket: await tlsTicket(server),
    mkdtemp: times(2, () => temporaryName()),
    uuid4: uuid.v4(),
    uuid7: timeless(() => uuid.v7()),
    uuid9: uuid9.v4({}),
    nanoid3: nanoid3.nanoid(),
    nanoid5: nanoid5.nanoid(),
    ulid: timeless(() => ulid.ulid()),
    // In one millisecond it only counts on; what is left without the time is random.
    ulidMonotonic: monotonic().slice(10),
    objectId: timeless(() => new bson.ObjectId().toHexString()),
    cuid2: timeless(() => cuid2.createId()),
  };
}

/** Ids that begin with the time would differ by it alone, and two clones may well draw in the same millisecond. */
function timeless(draw) {
  const { now } = Date;
  Date.now = () => 1_700_000_000_000;
  try {
    return draw();
  } finally {
    Date.now = now;
  }
}

/** A temporary directory's name is drawn by mkdtemp(3), from the clock and the kernel: 36 bits of it are random. */
function temporaryName() {
  const path = fs.mkdtempSync(join(os.tmpdir(), 'fp-draw-'));
  fs.rmdirSync(path);
  return path.slice(-6);
}

async function loadLibraries() {
  const [nanoid5, ulid, bson, cuid2, uuid] = await Promise.all(
    ['nanoid', 'ulid', 'bson', '@paralleldrive/cuid2', 'uuid'].map((name) => import(name)),
  );
  // Two that are installed under a name of their own, because their newest versions have no pool any more.
  const [uuid9, nanoid3] = [require('uuid9'), require('nanoid3')];
  return { nanoid5, nanoid3, uuid, uuid9, ulid, bson, cuid2, monotonic: ulid.monotonicFactory() };
}

async function main() {
  const libraries = await loadLibraries();
  dns.setServers([process.argv[3]]);
  const pem = fs.readFileSync(join(__dirname, 'tls.pem'));
  const server = tls.createServer({ key: pem, cert: pem }, (socket) => {
    socket.on('error', () => undefined);
  });
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' });
  web.key = await crypto.webcrypto.subtle.importKey(
    'pkcs8',
    pkcs8,
    { name: 'ECDSA', namedCurve: 'P-256' },
    false,
    ['sign'],
  );
  await drawAll(libraries, server);
  await Core.checkpointRestore(process.argv[2]);
  console.log(JSON.stringify(await drawAll(libraries, server)));
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
