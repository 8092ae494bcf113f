// HTTPS at PORT, and HTTP/2 with TLS at PORT + 1. Answers with the number of the worker and what was asked by.
const { readFileSync } = require('node:fs');
const { createSecureServer } = require('node:http2');
const { createServer } = require('node:https');
const { join } = require('node:path');

const pem = readFileSync(join(__dirname, 'tls.pem'));
const port = Number(process.env.PORT);
const answer = (request, response) =>
  setTimeout(() => response.end(`${process.env.FORKPOINT_WORKER} ${request.httpVersion}`), 5);
createServer({ key: pem, cert: pem }, answer).listen(port, '127.0.0.1');
createSecureServer({ key: pem, cert: pem }, answer).listen(port + 1, '127.0.0.1');
