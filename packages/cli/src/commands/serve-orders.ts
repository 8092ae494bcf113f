import type { Command } from 'commander';
import { livingServers, order } from '@forkpoint/supervisor';
import type { LivingServer, ServeStatus } from '@forkpoint/supervisor';
import type { Cli } from '../context.ts';
import { CliError } from '../error.ts';
import type { Finish } from '../program.ts';
import { bytesText, commandText, durationText } from '../ui/format.ts';
import { tableLines } from '../ui/table.ts';

/** Adds `forkpoint serve status` and the orders to a living server. */
export function addServeOrders(serve: Command, cli: Cli, finish: Finish): void {
  serve
    .command('status')
    .summary('what a living server does')
    .description(
      'Tells of the living servers, or of one: its images and its workers, with the memory that is theirs alone (PRIVATE) and that they share (SHARED).',
    )
    .argument('[server]', 'name or id')
    .option('--json', 'print one JSON object')
    .action(async (name: string | undefined, options: { json?: boolean }) => {
      if (options.json === true) {
        const { status } = await theServer(cli, name);
        cli.writeOut(`${JSON.stringify(status, null, 2)}\n`);
      } else {
        const servers = await found(cli, name);
        cli.writeOut(servers.map(({ status }) => textOf(cli, status)).join('\n'));
      }
      finish(0);
    });
  serve
    .command('inspect')
    .summary('open the debugger of a worker')
    .description(
      'Opens the port of the debugger in one worker, on 127.0.0.1, and prints its address. The worker is not killed while it stands still.',
    )
    .argument('[server]', 'name or id')
    .option('--worker <n>', 'number of the worker', '0')
    .option('--port <n>', 'port of the debugger, 0 for a free one', '9229')
    .action(async (name: string | undefined, options: { worker: string; port: string }) => {
      const path = `/inspect?worker=${encodeURIComponent(options.worker)}&port=${encodeURIComponent(options.port)}`;
      cli.writeOut(await order(await theServer(cli, name), path));
      finish(0);
    });
  const orders = [
    ['reload', 'start the program anew, for new code, and replace the workers one after another'],
    ['refork', 'make the warmest worker the mold of the next generation now'],
    ['stop', 'let all workers finish what they have, then end'],
  ] as const;
  for (const [verb, summary] of orders) {
    const command = serve
      .command(verb)
      .summary(summary)
      .description(`Tells a living server to ${summary}. Returns at once.`)
      .argument('[server]', 'name or id');
    if (verb === 'reload') command.option('--fresh', 'start the program also when nothing has changed');
    command.action(async (name: string | undefined, options: { fresh?: boolean }) => {
      await order(await theServer(cli, name), `/${verb}${options.fresh === true ? '?fresh' : ''}`);
      finish(0);
    });
  }
}

/** Returns the living servers with a name or id, all without one. Throws when there is none. */
async function found(cli: Cli, name: string | undefined): Promise<LivingServer[]> {
  const all = await livingServers(cli.places.home);
  const fitting = all.filter(
    ({ status }) => name === undefined || status.name === name || status.id === name,
  );
  if (fitting.length > 0) return fitting;
  const names = all.map(({ status }) => `\`${status.name}\``).join(', ');
  throw new CliError(
    name === undefined ? 'no server is alive' : `there is no living server called \`${name}\``,
    {
      code: 'ERR_FORKPOINT_RUN_GONE',
      hint: names === '' ? 'Start one: forkpoint serve -- node server.js' : `These live: ${names}`,
    },
  );
}

/** Returns the one server that is meant. */
async function theServer(cli: Cli, name: string | undefined): Promise<LivingServer> {
  const servers = await found(cli, name);
  const [first, second] = servers;
  if (first !== undefined && second === undefined) return first;
  const names = servers.map(({ status }) => `${status.name} (${status.id})`).join(', ');
  throw new CliError(`several servers are alive: ${names}`, {
    code: 'ERR_FORKPOINT_AMBIGUOUS',
    hint: 'Name one of them, or give its id',
  });
}

function textOf(cli: Cli, status: ServeStatus): string {
  const { mold } = status;
  const age = durationText(Math.max(0, Date.now() - Date.parse(status.startedAt)));
  const where = status.addresses.join(', ');
  const image =
    mold === null
      ? 'no image yet'
      : `image ${mold.id} of generation ${mold.generation}, ${bytesText(mold.bytes)}`;
  const lines = tableLines(
    [
      { title: 'WORKER', isRight: true },
      { title: 'STATE' },
      { title: 'GEN', isRight: true },
      { title: 'PID', isRight: true },
      { title: 'REQUESTS', isRight: true },
      { title: 'ACTIVE', isRight: true },
      { title: 'PRIVATE', isRight: true },
      { title: 'SHARED', isRight: true },
      { title: 'CPU', isRight: true },
    ],
    status.workers.map((worker) => [
      String(worker.slot),
      worker.state,
      String(worker.generation),
      String(worker.pid ?? '-'),
      String(worker.requests),
      String(worker.active),
      bytesText(worker.memory.privateBytes),
      bytesText(worker.memory.sharedBytes),
      durationText(worker.cpuSeconds * 1000),
    ]),
    cli.width,
  );
  const [heading = '', ...body] = lines;
  return [
    `${status.name} (${status.id}): ${status.phase} for ${age}${where === '' ? '' : ` at ${where}`}; ${commandText(status.command)}`,
    `${image}; ${status.totals.requests} requests, ${status.totals.reforks} reforks, ${status.totals.reloads} reloads`,
    cli.paintOut('heading', heading),
    ...body,
    '',
  ].join('\n');
}
