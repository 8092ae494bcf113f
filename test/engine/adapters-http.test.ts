import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { Server, ServerResponse } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { assertDisjoint, assertRefused, goThrough, phases } from './adapting.ts';

const SLOW_MS = 300;

interface Numbers {
  readonly own: number;
  readonly global: number;
  readonly fetch: number;
  readonly undici: number;
  readonly others: number[];
}

/** Answers with the number of the connection; `/held` after the next `/let-go`, `/slow` after a while. */
function numbering(): Server {
  const numbers = new WeakMap<object, number>();
  const held: ServerResponse[] = [];
  let connections = 0;
  const server = createServer((request, response) => {
    const answer = String(numbers.get(request.socket));
    const end = (): void => void response.end(answer);
    if (request.url === '/held') {
      held.push(response);
      response.once('forkpoint-let-go', end);
    } else if (request.url === '/slow') setTimeout(end, SLOW_MS);
    else {
      if (request.url === '/let-go') for (const one of held.splice(0)) one.emit('forkpoint-let-go');
      end();
    }
  });
  server.keepAliveTimeout = 60_000;
  return server.on('connection', (socket) => numbers.set(socket, ++connections));
}

describe('keep-alive connections', () => {
  let person: Person;
  let server: Server;
  before(async () => {
    person = createPerson();
    server = numbering();
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
  });
  after(async () => {
    server.close();
    server.closeAllConnections();
    await person.leave();
  });

  for (const node of [20, 24] as const) {
    test(`of agents, fetch and undici are waited for; the original keeps its own, and each clone opens others: Node ${node}`, async () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      const said = await goThrough(person, 'http.mjs', {
        node,
        libraries: ['undici'],
        args: [`http://127.0.0.1:${port}`],
      });
      assertRefused(
        said,
        /http: an agent's connections to 127\.0\.0\.1:\d+: 1 request under way after 1000 ms/,
      );
      assertRefused(said, /, and 1 more failures/);
      const { before: first, original, parent, others } = phases<Numbers>(said);
      assert.equal(others.length, 4);
      const numbersOf = ({ others: more, ...rest }: Numbers): number[] => [...Object.values(rest), ...more];
      const known = Math.max(...numbersOf(first), ...numbersOf(said.one<Numbers>('first')));
      // The global agent closes what is idle for five seconds, by itself.
      const kept = ({ own, fetch, undici }: Numbers): number[] => [own, fetch, undici];
      for (const one of [original, parent]) assert.ok(Math.max(...kept(one)) <= known, 'a new connection');
      assertDisjoint([first, ...others].map(numbersOf), 'connections');
      for (const { own, fetch, others: more } of others) assert.deepEqual(more, [own, fetch]);
    });
  }
});
