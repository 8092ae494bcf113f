import type { Agent, ClientRequest } from 'node:http';
import type { Socket } from 'node:net';
import { Gate } from './gate.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy } from './types.ts';

/** Published with each request, before it is sent (the channels of node:diagnostics_channel, Node 20 and later). */
const CHANNEL = 'http.client.request.start';

/**
 * Agents of node:http and node:https. The original keeps its sockets; in a clone they are destroyed before anybody can
 * use them, and the agent opens others. What was upgraded belongs to the program, and is no longer the agent's.
 */
export function httpAdapter(): Adapter {
  const agents = new Tracked<Agent>();
  const gate = new Gate();
  let last: WeakRef<Agent> | undefined;
  let isPatched = false;

  const see = (message: unknown): void => {
    const { request } = message as { request: ClientRequest & { agent?: Agent } };
    const { agent } = request;
    if (agent === undefined || agent === null || agent === last?.deref()) return;
    last = new WeakRef(agent);
    agents.add(agent);
    if (isPatched) return;
    // node:http is loaded by now; to load it for this would cost every program a few milliseconds.
    isPatched = true;
    holdRequests(process.getBuiltinModule('node:http').Agent.prototype, gate);
  };

  const tracker = {
    name: 'http',
    isIdle: () => agents.all().every((agent) => socketsOf(agent).length === 0),
    hold: () => gate.close(),
    release: () => gate.open(),
    busy: (): Busy[] => agents.all().flatMap(underWay),
    close: (): void => undefined,
    wake: (isClone: boolean): void => {
      if (isClone) for (const socket of agents.all().flatMap(socketsOf)) socket.destroy();
    },
  };
  return {
    name: 'http',
    tracker,
    start: () => process.getBuiltinModule('node:diagnostics_channel').subscribe(CHANNEL, see),
  };
}

/** `addRequest` is how a request gets a socket, and what agents of other packages override. */
function holdRequests(prototype: object, gate: Gate): void {
  const addRequest: unknown = Reflect.get(prototype, 'addRequest');
  if (typeof addRequest !== 'function') return;
  Reflect.set(prototype, 'addRequest', function addRequestLater(this: unknown, ...args: unknown[]): void {
    gate.pass(() => {
      Reflect.apply(addRequest, this, args);
    });
  });
}

type Lists = Agent['sockets'];

function listsOf(lists: Lists): [string, Socket[]][] {
  return Object.entries(lists).map(([name, list]) => [name, [...(list ?? [])]]);
}

function socketsOf(agent: Agent): Socket[] {
  return [agent.sockets, agent.freeSockets].flatMap((lists) => listsOf(lists).flatMap(([, list]) => list));
}

/** Names of an agent's lists are `host:port:localAddress:...`. */
function underWay(agent: Agent): Busy[] {
  const counts = new Map<string, number>();
  for (const [name, list] of listsOf(agent.sockets)) {
    const live = list.filter((socket) => !socket.destroyed).length;
    if (live > 0) counts.set(name, live);
  }
  for (const [name, list] of Object.entries(agent.requests)) {
    counts.set(name, (counts.get(name) ?? 0) + (list?.length ?? 0));
  }
  return [...counts].map(([name, count]) => ({
    what: `an agent's connections to ${name.split(':').slice(0, 2).join(':')}`,
    work: `${count} ${count === 1 ? 'request' : 'requests'}`,
  }));
}
