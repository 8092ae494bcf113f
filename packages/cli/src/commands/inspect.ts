import type { Command } from 'commander';
import { findRun, isImage, processesOf, resolveImage } from '@forkpoint/store';
import { inspect } from '@forkpoint/supervisor/host';
import type { ImageManifest, ImageSlot, Inspection } from '@forkpoint/supervisor/host';
import type { Cli } from '../context.ts';
import { CliError } from '../error.ts';
import type { Finish } from '../program.ts';
import { explainFlags, explainVariables } from '../runtimes/flags.ts';
import type { FlagReason } from '../runtimes/flags.ts';
import { bytesText, commandText, durationText, safeText } from '../ui/format.ts';
import { tableLines } from '../ui/table.ts';
import { withWork } from '../ui/work.ts';
import { runJson } from './ps.ts';

/** Adds `forkpoint inspect`. */
export function addInspect(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('inspect')
    .summary('show what an image or a run consists of')
    .description(
      'Shows the processes, memory areas, descriptors and slots of an image, and the names of its environment variables; ' +
        'or the identity and the processes of a run. Values of the environment are not shown.',
    )
    .argument('<image-or-run>', 'a path, the name of an image, or a run')
    .option('--json', 'print everything as JSON')
    .addHelpText('after', '\nExamples:\n  forkpoint inspect ./warm\n  forkpoint inspect server --json')
    .action(async (argument: string, options: { json?: boolean }) => {
      const image = await imageOf(cli, argument);
      if (image === undefined) await inspectRun(cli, argument, options.json === true);
      else await inspectImage(cli, image, options.json === true);
      finish(0);
    });
}

async function imageOf(cli: Cli, argument: string): Promise<string | undefined> {
  if (argument.includes('/') || argument.startsWith('.'))
    return resolveImage(argument, cli.cwd, cli.places.images);
  const path = resolveImage(argument, cli.cwd, cli.places.images);
  return (await isImage(path)) ? path : undefined;
}

async function inspectRun(cli: Cli, argument: string, isJson: boolean): Promise<void> {
  const run = await findRun(cli.places.runs, argument).catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_FORKPOINT_RUN_NOT_FOUND'))
      throw error;
    const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined;
    throw new CliError(`there is no image and no run called \`${argument}\``, {
      code: 'ERR_FORKPOINT_NOT_FOUND',
      hint,
    });
  });
  const processes = await processesOf(run);
  const shown = runJson({ run, processes });
  if (isJson) {
    const flags = explainFlags(processes.map(({ command }) => command));
    const facts = { ...shown, to: run.to, toCwd: run.toCwd, dir: run.dir, flags };
    cli.writeOut(`${JSON.stringify(facts, null, 2)}\n`);
    return;
  }
  const rows = processes.map(({ pid, hostPid, memory, command }) => [
    String(pid),
    String(hostPid),
    bytesText(memory.privateBytes),
    commandText(command),
  ]);
  const columns = [
    { title: 'PID', isRight: true },
    { title: 'HOST PID', isRight: true },
    { title: 'PRIVATE', isRight: true },
    { title: 'COMMAND' },
  ];
  writeFacts(cli, `Run ${run.name}`, [
    ['id', run.id],
    ['command', commandText(run.command)],
    ['state', run.isAlive ? 'running' : run.exitCode === null ? 'killed' : `exited ${run.exitCode}`],
    ['started', run.startedAt],
    ['generation', String(run.generation)],
    ['restored from', run.image ?? '-'],
    ['next checkpoint', run.to ?? '-'],
    ['directory', run.dir],
  ]);
  if (rows.length > 0) writeTable(cli, 'Processes', columns, rows);
  writeFlags(cli, explainFlags(processes.map(({ command }) => command)));
}

async function inspectImage(cli: Cli, image: string, isJson: boolean): Promise<void> {
  const contents = await withWork(cli, `Reading ${image}`, async (work) => await inspect(image, work));
  const { manifest } = contents;
  if (isJson) {
    const { areas, descriptors, environment } = contents;
    const flags = flagsOf(contents);
    cli.writeOut(`${JSON.stringify({ ...manifest, areas, descriptors, environment, flags }, null, 2)}\n`);
    return;
  }
  writeManifest(cli, image, manifest);
  writeContents(cli, contents);
}

function writeManifest(cli: Cli, image: string, manifest: ImageManifest): void {
  const { runtime, host, engine } = manifest;
  const size = manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
  writeFacts(cli, `Image ${image}`, [
    ['id', manifest.id],
    ['command', commandText(manifest.command)],
    ['directory', manifest.cwd],
    ['taken', `${manifest.createdAt} from ${manifest.origin.name} (${manifest.origin.run})`],
    ['generation', String(manifest.generation)],
    ['parent', manifest.parentId ?? '-'],
    ['runtime', runtime === null ? '-' : `${runtime.name} ${runtime.version ?? ''} (${runtime.path})`],
    ['host', `${host.arch}, Linux ${host.kernel}, glibc ${host.glibc ?? '-'}`],
    ['engine', `CRIU ${engine.criu}, forkpoint ${engine.forkpoint}`],
    ['memory', `${bytesText(size)} in ${manifest.layers.length} files`],
    ['score', scoreText(manifest)],
    [
      'labels',
      Object.entries(manifest.labels)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ') || '-',
    ],
  ]);
}

function scoreText({ score }: ImageManifest): string {
  const figures = Object.entries(score ?? {}).map(([name, value]) => {
    if (name.endsWith('Bytes')) return `${name.slice(0, -5)} ${bytesText(value)}`;
    return name.endsWith('Ms') ? `${name.slice(0, -2)} ${durationText(value)}` : `${name} ${value}`;
  });
  return figures.join(', ') || '-';
}

function writeContents(cli: Cli, contents: Inspection): void {
  const { manifest } = contents;
  const right = (title: string): { title: string; isRight: true } => ({ title, isRight: true });
  writeTable(
    cli,
    'Processes',
    [right('PID'), right('PARENT'), right('THREADS'), right('SAVED'), { title: 'COMMAND' }],
    manifest.processes.map((process) => [
      String(process.pid),
      String(process.parentPid),
      String(process.threads.length),
      bytesText(contents.savedBytes.get(process.pid) ?? 0),
      commandText(process.command),
    ]),
  );
  writeTable(
    cli,
    'Memory areas',
    [{ title: 'KIND' }, right('AREAS'), right('SIZE')],
    contents.groups.map((group) => [group.kind, String(group.count), bytesText(group.bytes)]),
  );
  writeTable(
    cli,
    'Memory that is read at a restore',
    [{ title: 'REASON' }, right('AREAS'), right('SIZE'), { title: 'WHY' }],
    contents.kept.map(({ reason, areas, bytes, text }) => [reason, String(areas), bytesText(bytes), text]),
  );
  writeTable(
    cli,
    'Layers',
    [{ title: 'FILE' }, right('SIZE'), { title: 'PACKED' }, { title: 'MEMORY' }],
    manifest.layers.map(({ file, size, compression }) => [
      file,
      bytesText(size),
      compression ?? '-',
      file.startsWith('layers/') ? 'linked' : 'read at a restore',
    ]),
  );
  writeTable(
    cli,
    'Descriptors',
    [right('PID'), right('FD'), { title: 'KIND' }, { title: 'WHAT' }],
    contents.descriptors.map((item) => [String(item.pid), String(item.fd), item.kind, item.what]),
  );
  if (manifest.slots.length > 0) {
    writeTable(
      cli,
      'Slots',
      [{ title: 'ID' }, { title: 'KIND' }, { title: 'ADDRESS' }],
      manifest.slots.map(slotCells),
    );
  }
  writeFlags(cli, flagsOf(contents));
  cli.writeOut(
    `\n${cli.paintOut('heading', 'Environment')}\n${safeText(contents.environment.join(' ')) || '-'}\n`,
  );
}

/** What forkpoint added to the program's command lines and environment, and why. */
function flagsOf(contents: Inspection): FlagReason[] {
  return [
    ...explainFlags(contents.manifest.processes.map(({ command }) => command)),
    ...explainVariables(contents.environment),
  ];
}

function writeFlags(cli: Cli, flags: readonly FlagReason[]): void {
  if (flags.length === 0) return;
  const columns = [{ title: 'FLAG' }, { title: 'WHY' }];
  writeTable(
    cli,
    'Added by forkpoint',
    columns,
    flags.map(({ flag, why }) => [flag, why]),
  );
}

function slotCells(slot: ImageSlot): string[] {
  const { id, kind, address = '', port = 0, path = '-' } = slot;
  if (kind === 'unix') return [id, kind, path];
  if (kind !== 'tcp') return [id, kind, '-'];
  return [id, kind, address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`];
}

function writeFacts(cli: Cli, title: string, facts: readonly (readonly [string, string])[]): void {
  const width = facts.reduce((most, [name]) => Math.max(most, name.length), 0);
  const lines = facts.map(([name, value]) => `${name.padEnd(width)}  ${safeText(value)}`);
  cli.writeOut(`${cli.paintOut('heading', safeText(title))}\n${lines.join('\n')}\n`);
}

function writeTable(
  cli: Cli,
  title: string,
  columns: readonly { title: string; isRight?: boolean }[],
  rows: readonly (readonly string[])[],
): void {
  cli.writeOut(`\n${cli.paintOut('heading', title)}\n${tableLines(columns, rows, cli.width).join('\n')}\n`);
}
