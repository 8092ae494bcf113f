// A shop that renders pages: the example server and one route that, as in most programs, gets ready what it needs when it is
// first asked for: modules, formatters, templates made from text. V8 compiles it all as it is used. BENCH_MB adds a heap of
// that many megabytes, BENCH_FIFO the timer and the ways of ticking-server.cjs.
const vm = require('node:vm');
const app = require('../../examples/server.cjs');

const kept = [];
while (process.memoryUsage().heapUsed < Number(process.env.BENCH_MB ?? 0) * 2 ** 20)
  kept.push(Array.from({ length: 1000 }, (_, i) => ({ i, name: `thing ${kept.length}-${i}` })));

const lazy = (make) => {
  let made;
  return () => (made ??= make());
};
const LANGUAGES = ['en-GB', 'de-DE', 'fr-FR', 'ja-JP', 'pl-PL'];
const money = lazy(() =>
  LANGUAGES.map((name) => new Intl.NumberFormat(name, { style: 'currency', currency: 'EUR' })),
);
const date = lazy(() =>
  LANGUAGES.map((name) => new Intl.DateTimeFormat(name, { dateStyle: 'full', timeZone: 'UTC' })),
);
const zlib = lazy(() => require('node:zlib'));
const crypto = lazy(() => require('node:crypto'));
const address = lazy(() => require('node:url'));

/** Makes a function of a template with `{{ expression }}` in it. */
function compile(template) {
  const parts = template.split(/\{\{(.*?)\}\}/);
  const code = parts.map((part, i) =>
    i % 2 === 0 ? JSON.stringify(part) : `escape(String(${part.trim()}))`,
  );
  return vm.compileFunction(`return ${code.join(' + ')};`, ['escape', 'page']);
}
const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (text) => text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]);
const head = lazy(() =>
  compile('<!doctype html><html lang="{{ page.language }}"><title>{{ page.title }}</title>'),
);
const row = lazy(() =>
  compile(
    '<li><a href="{{ page.href }}" class="{{ page.even ? "even" : "odd" }}">{{ page.name }}</a> {{ page.price }}',
  ),
);
const foot = lazy(() => compile('<footer>{{ page.count }} things, {{ page.date }}</footer></html>'));

function things(id) {
  return Array.from({ length: 40 }, (_, i) => ({
    name: `${['lamp', 'chair', 'table', 'shelf'][(id + i) % 4]} no. ${id + i} <${(id * 31 + i) % 97}>`,
    cents: (id * 7919 + i * 104_729) % 50_000,
  })).sort((a, b) => a.cents - b.cents || a.name.localeCompare(b.name));
}

app.get('/page/:id', (request, reply) => {
  const id = Number(request.params.id);
  const at = id % LANGUAGES.length;
  const link = (name) =>
    new (address().URL)(`/thing?${new (address().URLSearchParams)({ name })}`, 'http://shop.test').href;
  const rows = things(id).map(({ name, cents }, i) =>
    row()(escape, { name, href: link(name), even: i % 2 === 0, price: money()[at].format(cents / 100) }),
  );
  const when = date()[at].format(new Date(86_400_000 * (19_000 + id)));
  const page = [
    head()(escape, { language: LANGUAGES[at], title: `Page ${id}` }),
    ...rows,
    foot()(escape, { count: rows.length, date: when }),
  ].join('\n');
  reply.header('etag', `"${crypto().createHash('sha256').update(page).digest('base64url')}"`);
  return reply
    .header('content-type', 'text/html; charset=utf-8')
    .send(`${page}<!-- ${zlib().gzipSync(page).length} -->`);
});

if (process.env.BENCH_FIFO !== undefined) require('./ticking-server.cjs');
