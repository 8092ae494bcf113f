/** The script of the live page: shows each status that comes, and moves the focus in the tree. */
export const PAGE_SCRIPT = `
'use strict';
const at = (id) => document.getElementById(id);
const size = (bytes) => bytes < 999.5e3 ? Math.round(bytes / 1e3) + ' kB' : bytes < 999.5e6 ? (bytes / 1e6).toFixed(1) + ' MB' : (bytes / 1e9).toFixed(2) + ' GB';
const show = (element, text) => { if (element.textContent !== String(text)) element.textContent = text; };
let before;

function showSums(status) {
  show(at('name'), status.name);
  document.title = status.name + ' - forkpoint serve';
  show(at('about'), status.phase + (status.addresses.length ? ' at ' + status.addresses.join(', ') : '') + ' since ' + new Date(status.startedAt).toLocaleString() + '; ' + status.command.join(' '));
  show(at('ready'), status.workers.filter((one) => one.state === 'ready').length + ' of ' + status.workers.length);
  show(at('requests'), status.totals.requests);
  show(at('private'), size(status.workers.reduce((sum, one) => sum + one.memory.privateBytes, 0)));
  show(at('reforks'), status.totals.reforks);
  show(at('reloads'), status.totals.reloads);
  const now = performance.now();
  if (before) show(at('rate'), Math.max(0, (status.totals.requests - before.requests) * 1000 / (now - before.now)).toFixed(1));
  before = { now, requests: status.totals.requests };
}

function showWorkers({ workers }) {
  const body = document.querySelector('#workers tbody');
  const most = Math.max(1, ...workers.map(({ memory }) => memory.privateBytes + memory.sharedBytes));
  const known = new Map([...body.rows].map((row) => [row.dataset.worker, row]));
  for (const one of [...workers].sort((a, b) => a.slot - b.slot || a.worker - b.worker)) {
    const row = known.get(String(one.worker)) ?? newRow(one.worker);
    known.delete(String(one.worker));
    body.append(row);
    const cells = row.cells;
    show(cells[0], one.slot);
    show(cells[1], one.state);
    cells[1].dataset.state = one.state;
    show(cells[2], one.generation);
    show(cells[3], one.pid ?? '-');
    show(cells[4], one.requests);
    show(cells[5], one.active);
    const [bar, text] = cells[6].firstChild.children;
    bar.children[0].style.width = 100 * one.memory.privateBytes / most + '%';
    bar.children[1].style.width = 100 * one.memory.sharedBytes / most + '%';
    show(text, size(one.memory.privateBytes) + ' + ' + size(one.memory.sharedBytes));
    show(cells[7], one.cpuSeconds.toFixed(1) + ' s');
  }
  for (const row of known.values()) row.remove();
}

function newRow(worker) {
  const row = document.createElement('tr');
  row.dataset.worker = worker;
  for (let cell = 0; cell < 8; cell++) {
    const one = row.insertCell();
    if (cell !== 1 && cell !== 6) one.className = 'number';
  }
  const memory = document.createElement('div');
  memory.className = 'memory';
  const bar = document.createElement('div');
  bar.className = 'bar';
  bar.setAttribute('aria-hidden', 'true');
  for (const name of ['own', 'common']) bar.append(Object.assign(document.createElement('span'), { className: name }));
  memory.append(bar, document.createElement('span'));
  row.cells[6].append(memory);
  return row;
}

function showForks(status) {
  const nodes = [
    ...status.molds.map((one) => ({ key: 'm' + one.id, parent: one.parent === null ? null : 'm' + one.parent, name: one.isKept ? one.id === status.mold?.id ? 'current' : '' : 'gone',
      text: 'image ' + one.id + ', generation ' + one.generation + ', ' + size(one.bytes) + (one.isKept ? '' : ', gone') })),
    ...status.workers.map((one) => ({ key: 'w' + one.worker, parent: 'm' + one.mold, name: '', state: one.state, text: 'worker ' + one.slot + ', ' + one.requests + ' requests, ' + size(one.memory.privateBytes) + ' of its own' })),
  ];
  const keys = new Set(nodes.map(({ key }) => key));
  for (const old of document.querySelectorAll('[role=treeitem]')) if (!keys.has(old.dataset.key)) old.remove();
  for (const node of nodes) {
    let item = document.querySelector('[data-key="' + node.key + '"]');
    const within = keys.has(node.parent) ? document.querySelector('[data-key="' + node.parent + '"] > ul') : at('forks');
    if (!item) {
      item = document.createElement('li');
      item.setAttribute('role', 'treeitem');
      item.dataset.key = node.key;
      item.tabIndex = -1;
      item.append(Object.assign(document.createElement('span'), { className: 'label' }));
      if (node.key[0] === 'm') item.append(Object.assign(document.createElement('ul'), { role: 'group' }));
      within.append(item);
    }
    item.className = node.name;
    if (node.state) item.firstChild.dataset.state = node.state;
    show(item.firstChild, node.text);
  }
  if (!document.querySelector('[role=treeitem][tabindex="0"]')) document.querySelector('[role=treeitem]')?.setAttribute('tabindex', '0');
}

at('forks').addEventListener('keydown', (event) => {
  const items = [...document.querySelectorAll('[role=treeitem]')];
  const here = items.indexOf(event.target);
  const parent = event.target.parentElement.closest('[role=treeitem]');
  const next = { ArrowDown: items[here + 1], ArrowUp: items[here - 1], Home: items[0], End: items.at(-1), ArrowLeft: parent, ArrowRight: event.target.querySelector('[role=treeitem]') }[event.key];
  if (next === undefined || next === null) return;
  event.preventDefault();
  for (const item of items) item.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});

const source = new EventSource('events');
source.onmessage = ({ data }) => {
  const status = JSON.parse(data);
  showSums(status);
  showForks(status);
  showWorkers(status);
  delete at('connection').dataset.lost;
  show(at('connection'), 'live');
};
source.onerror = () => {
  at('connection').dataset.lost = 'true';
  show(at('connection'), 'the server does not answer; trying again');
};
`;
