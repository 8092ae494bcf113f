// Keep-alive connections of node:http, of fetch and of the package undici: `http.mjs IMAGE ORIGIN`. The server answers with the number of
// the connection.
import http from 'node:http';
import { Agent, request } from 'undici';
import { refusal, rounds, say } from './rounds.mjs';

const [, , image, origin] = process.argv;
const agent = new http.Agent({ keepAlive: true });
const dispatcher = new Agent();

const ask = async (options, path = '/') =>
  await new Promise((resolve, reject) => {
    const sent = http.get(`${origin}${path}`, options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part));
      response.on('end', () => resolve(Number(text)));
    });
    sent.on('error', reject);
  });
const fetched = async (path = '/') => Number(await (await fetch(`${origin}${path}`)).text());
const use = async () => ({
  own: await ask({ agent }),
  global: await ask({}),
  fetch: await fetched(),
  undici: Number(await (await request(origin, { dispatcher })).body.text()),
  others: await Promise.all([ask({ agent }), fetched()]),
});

say('first', await use());
const waiting = [ask({ agent }, '/held'), fetched('/held')];
say('refused', await refusal(`${image}-refused`));
await fetched('/let-go');
await Promise.all(waiting);
const slow = [ask({ agent }, '/slow'), fetched('/slow')];
await rounds({ use, leave: async () => await Promise.all(slow) });
agent.destroy();
await dispatcher.close();
process.exit(0);
