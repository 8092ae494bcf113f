// The live page of `forkpoint serve` in a real browser: what it shows, its keys, light and dark. Usage: npm run page [-- --out DIR] [--at HOST:PORT]
// By CHROMIUM, a browser on PATH, or Debian's, which is fetched then; pictures of the page go to DIR. The server is one of its own with two workers, or the
// one whose page is at HOST:PORT, as a test has it.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { freePort } from './lib/port.mjs';
import { dataDirectory, setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const node = join(root, 'node_modules/node24/bin/node');
const LIMIT_MS = 60_000;
const { values } = parseArgs({
  options: { out: { type: 'string', default: join(tmpdir(), 'forkpoint-page') }, at: { type: 'string' } },
});

// Node.js 20 has no WebSocket, by which a browser is driven.
if (typeof WebSocket === 'undefined') {
  await setup();
  const { status } = spawnSync(node, process.argv.slice(1), { stdio: 'inherit' });
  process.exit(status ?? 1);
}

const problems = [];
const check = (what, isTrue) => {
  console.log(`${isTrue ? 'ok    ' : 'failed'} ${what}`);
  if (!isTrue) problems.push(what);
};

/** Starts a process whose group ends with this one, and resolves with the first match of what it says. */
function start(argv, options, pattern) {
  const child = spawn(argv[0], argv.slice(1), {
    ...options,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  process.once('exit', () => {
    try {
      process.kill(-Number(child.pid), 'SIGKILL');
    } catch {
      // It has ended.
    }
  });
  let said = '';
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${argv[0]} said only: ${said}`)), LIMIT_MS);
    const take = (text) => {
      said += text;
      const match = pattern.exec(said);
      if (match === null) return;
      clearTimeout(timer);
      resolve({ child, match });
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${argv[0]} ended with ${code}: ${said}`)));
  });
}

/** Speaks the protocol of Chrome's developer tools with one page. */
async function openPage(browser, url) {
  const socket = new WebSocket(browser);
  await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
  const waiting = new Map();
  const complaints = [];
  let last = 0;
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    const isBad =
      message.method === 'Runtime.exceptionThrown' ||
      (message.method === 'Log.entryAdded' && message.params.entry.level === 'error');
    if (isBad) complaints.push(JSON.stringify(message.params).slice(0, 300));
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
  };
  const call = (method, params = {}, sessionId) =>
    new Promise((resolve, reject) => {
      const id = ++last;
      const timer = setTimeout(() => reject(new Error(`${method} was not answered`)), LIMIT_MS);
      waiting.set(id, ({ result, error }) => {
        clearTimeout(timer);
        if (error === undefined) resolve(result);
        else reject(new Error(`${method}: ${error.message}`));
      });
      socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }));
    });
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  const page = (method, params) => call(method, params, sessionId);
  for (const domain of ['Page', 'Runtime', 'Log']) await page(`${domain}.enable`);
  await page('Emulation.setDeviceMetricsOverride', {
    width: 1100,
    height: 900,
    deviceScaleFactor: 1,
    mobile: false,
  });
  await page('Page.navigate', { url });
  const evaluate = async (expression) =>
    (await page('Runtime.evaluate', { expression, returnByValue: true })).result.value;
  return { page, evaluate, complaints, close: () => socket.close() };
}

async function until(ask, what) {
  const end = performance.now() + 20_000;
  while (performance.now() < end) {
    if (await ask()) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log(`failed ${what} did not come`);
  return false;
}

async function look({ page, evaluate, complaints }) {
  const rows = () => evaluate(`document.querySelectorAll('#workers tbody tr').length`);
  check('two workers are shown', await until(async () => (await rows()) === 2, 'two rows'));
  const items = await evaluate(
    `[...document.querySelectorAll('[role=treeitem]')].map((one) => one.dataset.key).join()`,
  );
  check(`forks are a tree: ${items}`, /^m0,w0,w1$|^m0,/.test(items));
  const within = await evaluate(
    `document.querySelector('[data-key=w0],[data-key=w1]').closest('ul').parentElement.dataset.key`,
  );
  check('workers stand below their image', within === 'm0');
  const key = async (name) => {
    const given = {
      key: name,
      code: name,
      windowsVirtualKeyCode: { Tab: 9, ArrowDown: 40, ArrowUp: 38, Home: 36, End: 35, ArrowLeft: 37 }[name],
    };
    await page('Input.dispatchKeyEvent', { type: 'keyDown', ...given });
    await page('Input.dispatchKeyEvent', { type: 'keyUp', ...given });
    return await evaluate(`document.activeElement.dataset.key ?? document.activeElement.className`);
  };
  check('the first tabulator leads past everything', (await key('Tab')) === 'skip');
  check('the second one into the tree', (await key('Tab')) === 'm0');
  check('arrows move', (await key('ArrowDown')).startsWith('w'));
  check('to the parent as well', (await key('ArrowLeft')) === 'm0');
  check('and to the end', (await key('End')).startsWith('w'));
  check('the third one to the table', (await key('Tab')) === 'scroll');
  const background = () => evaluate(`getComputedStyle(document.body).backgroundColor`);
  const pictures = {};
  for (const scheme of ['light', 'dark']) {
    await page('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    pictures[scheme] = {
      colour: await background(),
      data: (await page('Page.captureScreenshot', { format: 'png' })).data,
    };
    writeFileSync(join(values.out, `serve-${scheme}.png`), Buffer.from(pictures[scheme].data, 'base64'));
  }
  check('light and dark differ', pictures.light.colour !== pictures.dark.colour);
  await page('Emulation.setDeviceMetricsOverride', {
    width: 360,
    height: 800,
    deviceScaleFactor: 1,
    mobile: true,
  });
  check(
    'nothing is cut off on a narrow screen',
    await evaluate(`document.documentElement.scrollWidth <= 360`),
  );
  check(`the browser complains of nothing ${complaints.join()}`, complaints.length === 0);
}

/** Serves with two workers, who have answered; returns the server, and where its page is. */
async function serveBoth(scratch) {
  const [port, admin] = [await freePort(), await freePort()];
  const env = { ...process.env, FORKPOINT_HOME: dataDirectory(), PORT: String(port) };
  const program = join(root, 'packages/testkit/src/programs/serving.cjs');
  const options = ['--no-keep', '--workers', '2', '--refork', 'off', '--admin', String(admin)];
  const serve = [join(root, 'bin/forkpoint'), 'serve', ...options, '--', node, program];
  const { child } = await start(serve, { env, cwd: scratch }, /2 workers serve/);
  for (let time = 0; time < 50; time++) await (await fetch(`http://127.0.0.1:${port}/`)).text();
  return { child, at: `127.0.0.1:${admin}` };
}

// Without what would look for updates and ask others.
const FLAGS = [
  ...['--headless=new', '--no-sandbox', '--disable-gpu', '--remote-debugging-port=0', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];
const scratch = mkdtempSync(join(tmpdir(), 'fp-page-'));
mkdirSync(values.out, { recursive: true });
try {
  const server = values.at === undefined ? await serveBoth(scratch) : { at: values.at };
  const { findBrowser } = await import('./lib/browser.ts');
  const argv = [await findBrowser(), ...FLAGS, `--user-data-dir=${join(scratch, 'browser')}`];
  const browser = await start(argv, { env: process.env }, /DevTools listening on (ws:\S+)/);
  const opened = await openPage(browser.match[1], `http://${server.at}/`);
  await look(opened);
  opened.close();
  server.child?.kill('SIGTERM');
} finally {
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
console.log(problems.length === 0 ? `pictures are in ${values.out}` : `${problems.length} failed`);
process.exit(problems.length === 0 ? 0 : 1);
