// A small HTTP server for programs whose point is another library: routes are functions from a URL to something for JSON.
const { createServer } = require('node:http');
const { values } = require('./values.cjs');

exports.serve = (routes) => {
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    const route = url.pathname === '/random' ? values : routes[url.pathname];
    try {
      if (route === undefined) throw Object.assign(new Error('no such page'), { status: 404 });
      const answer = JSON.stringify(await route(url.searchParams));
      response.setHeader('content-type', 'application/json').end(answer);
    } catch (error) {
      response.statusCode = error.status ?? 500;
      response.end(JSON.stringify({ error: String(error) }));
    }
  });
  server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`);
  });
  return server;
};
