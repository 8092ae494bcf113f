// A program with one kind of descriptor. Usage: node descriptors.cjs SCENARIO [ARG...]
// GET / of its HTTP server tells the state of the scenario, GET /do/WORD has the scenario do something.
const fs = require('node:fs');
const net = require('node:net');
const { once } = require('node:events');

const [scenario, ...args] = process.argv.slice(2);

async function listen(server, ...where) {
  server.listen(...where);
  await once(server, 'listening');
}

/** Writes down what happens to a socket. */
function watch(socket) {
  const seen = { events: [], data: '' };
  socket.setEncoding?.('utf8');
  socket.on('data', (text) => (seen.data += text));
  for (const event of ['end', 'close', 'error'])
    socket.on(event, (value) => seen.events.push(value?.code ?? event));
  return seen;
}

const scenarios = {
  async udp() {
    const socket = require('node:dgram').createSocket('udp4');
    let messages = 0;
    socket.on('message', (text, from) => socket.send(`${++messages} ${text}`, from.port, from.address));
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return { state: () => ({ messages, port: socket.address().port }) };
  },
  async tls() {
    const [key, cert] = args.map((path) => fs.readFileSync(path));
    const server = require('node:tls').createServer({ key, cert }, (socket) => socket.end('hello over tls'));
    await listen(server, 0, '127.0.0.1');
    return { state: () => ({ port: server.address().port }) };
  },
  async http2() {
    const server = require('node:http2').createServer((request, response) =>
      response.end('hello over http/2'),
    );
    await listen(server, 0, '127.0.0.1');
    return { state: () => ({ port: server.address().port }) };
  },
  async unixServer() {
    let clients = 0;
    const server = net.createServer((socket) => socket.end(`client ${++clients}`));
    await listen(server, args[0].replace(/^@/, '\0'));
    return { state: () => ({ clients }) };
  },
  async client() {
    const target = /^\d+$/.test(args[0]) ? { port: Number(args[0]), host: '127.0.0.1' } : { path: args[0] };
    const socket = net.connect(target);
    const seen = watch(socket);
    await once(socket, 'connect');
    const again = () =>
      new Promise((resolve, reject) => {
        net.connect(target).setEncoding('utf8').once('data', resolve).on('error', reject).write('again');
      });
    return {
      state: () => ({ ...seen, isDestroyed: socket.destroyed }),
      write: (text) => socket.write(text),
      again,
    };
  },
  async pool() {
    const url = `http://127.0.0.1:${args[0]}/`;
    const get = async () => await (await fetch(url)).text();
    await get();
    return { state: () => ({}), get };
  },
  // Node answers on the connection that the parent holds the other end of.
  async children() {
    const child = require('node:child_process').spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
    const seen = watch(child.stdout);
    return { state: () => seen, write: (text) => child.stdin.write(text) };
  },
  async watcher() {
    const changes = [];
    const [path, mode] = args;
    fs.watch(path, { recursive: mode === 'recursive' }, (event, name) => changes.push(name));
    return { state: () => ({ changes }) };
  },
  async files() {
    const [directory] = args;
    const log = fs.openSync(`${directory}/log`, 'a');
    const data = fs.openSync(`${directory}/data`, 'r+');
    const both = fs.openSync(`${directory}/gone`, 'w+');
    fs.writeSync(both, 'still here');
    fs.unlinkSync(`${directory}/gone`);
    const opened = fs.opendirSync(directory);
    opened.readSync();
    const devices = ['null', 'zero', 'urandom'].map((name) => fs.openSync(`/dev/${name}`, 'r+'));
    const read = (fd, length, position = null) => {
      const buffer = Buffer.alloc(length);
      return buffer.toString('latin1', 0, fs.readSync(fd, buffer, 0, length, position));
    };
    read(data, 3);
    return {
      state: () => ({
        gone: read(both, 10, 0),
        data: read(data, 3),
        names: opened.readSync() !== null || opened.readSync() === null,
        zero: read(devices[1], 2),
        urandom: read(devices[2], 8).length,
        null: read(devices[0], 1),
      }),
      write: (text) => fs.writeSync(log, text),
    };
  },
  async fifo() {
    const [path] = args;
    const fd = fs.openSync(path, fs.constants.O_RDWR);
    fs.writeSync(fd, 'left in the fifo');
    return {
      state: () => {
        const buffer = Buffer.alloc(64);
        return { data: buffer.toString('utf8', 0, fs.readSync(fd, buffer)) };
      },
    };
  },
  async sqlite() {
    const { DatabaseSync } = require('node:sqlite');
    const database = new DatabaseSync(args[0]);
    database.exec('PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS visit (who TEXT)');
    const count = database.prepare('SELECT count(*) AS n FROM visit');
    const insert = database.prepare('INSERT INTO visit VALUES (?)');
    return { state: () => ({ count: count.get().n }), write: (text) => insert.run(text).changes };
  },
  async none() {
    return { state: () => ({}) };
  },
};

async function start() {
  const { state, ...verbs } = await scenarios[scenario]();
  const server = require('node:http').createServer(async (request, response) => {
    try {
      const [, , verb, ...words] = request.url.split('/');
      const result =
        verb === undefined ? await state() : await verbs[verb](decodeURIComponent(words.join('/')));
      response.end(JSON.stringify(result ?? null));
    } catch (error) {
      response.statusCode = 500;
      response.end(JSON.stringify({ error: String(error), cause: String(error.cause ?? '') }));
    }
  });
  await listen(server, 0, '127.0.0.1');
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
}

void start();
