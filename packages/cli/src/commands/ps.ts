import type { Command } from 'commander';
import { listRuns, processesOf } from '@forkpoint/store';
import type { Run, RunProcess } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';
import { bytesText, commandText, durationText } from '../ui/format.ts';
import { tableLines } from '../ui/table.ts';

/** Adds `forkpoint ps`. */
export function addPs(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('ps')
    .summary('list the living runs')
    .description(
      'Lists the living runs: the generation (GEN), the pid of the program on this machine (PID), and the memory that is theirs alone (PRIVATE) and that they share (SHARED).',
    )
    .option('-a, --all', 'also those that have ended')
    .option('--json', 'print an array of JSON objects')
    .addHelpText('after', '\nExamples:\n  forkpoint ps\n  forkpoint ps --all --json')
    .action(async (options: { all?: boolean; json?: boolean }) => {
      const all = await listRuns(cli.places.runs);
      const shown = all.filter((run) => run.isAlive || options.all === true);
      const rows = await Promise.all(shown.map(async (run) => ({ run, processes: await processesOf(run) })));
      cli.writeOut(
        options.json === true ? `${JSON.stringify(rows.map(runJson), null, 2)}\n` : text(cli, rows),
      );
      finish(0);
    });
}

/** A run with its processes. */
export interface RunRow {
  readonly run: Run;
  readonly processes: readonly RunProcess[];
}

/** Returns what `ps --json` and `inspect --json` tell of a run. */
export function runJson({ run, processes }: RunRow): Record<string, unknown> {
  const memory = memoryOf(processes);
  return {
    id: run.id,
    name: run.name,
    pid: run.pid,
    hostPid: processes.find((item) => item.pid === run.pid)?.hostPid ?? null,
    generation: run.generation,
    parentId: run.parentId,
    image: run.image,
    command: run.command,
    startedAt: run.startedAt,
    isAlive: run.isAlive,
    exitCode: run.exitCode,
    processes: processes.map(({ pid, hostPid, command }) => ({ pid, hostPid, command })),
    memory,
  };
}

function memoryOf(processes: readonly RunProcess[]): { privateBytes: number; sharedBytes: number } {
  let [privateBytes, sharedBytes] = [0, 0];
  for (const { memory } of processes) {
    privateBytes += memory.privateBytes;
    sharedBytes += memory.sharedBytes;
  }
  return { privateBytes, sharedBytes };
}

function text(cli: Cli, rows: readonly RunRow[]): string {
  if (rows.length === 0) {
    cli.writeErr('No run is alive.\n');
    return '';
  }
  const columns = [
    { title: 'ID' },
    { title: 'NAME' },
    { title: 'STATE' },
    { title: 'GEN', isRight: true },
    { title: 'PID', isRight: true },
    { title: 'PROCS', isRight: true },
    { title: 'PRIVATE', isRight: true },
    { title: 'SHARED', isRight: true },
    { title: 'AGE', isRight: true },
    { title: 'COMMAND' },
  ];
  const lines = tableLines(columns, rows.map(cellsOf), cli.width);
  const [heading = '', ...body] = lines;
  return `${[cli.paintOut('heading', heading), ...body].join('\n')}\n`;
}

function cellsOf({ run, processes }: RunRow): string[] {
  const { privateBytes, sharedBytes } = memoryOf(processes);
  const ended = run.exitCode === null ? 'killed' : `exited ${run.exitCode}`;
  return [
    run.id,
    run.name,
    run.isAlive ? 'running' : ended,
    String(run.generation),
    String(processes.find((item) => item.pid === run.pid)?.hostPid ?? '-'),
    run.isAlive ? String(processes.length) : '-',
    run.isAlive ? bytesText(privateBytes) : '-',
    run.isAlive ? bytesText(sharedBytes) : '-',
    durationText(Math.max(0, Date.now() - Date.parse(run.startedAt))),
    commandText(run.command),
  ];
}
