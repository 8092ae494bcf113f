import { open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readEngineLog } from '@forkpoint/engine';
import { errnoOf, isId } from '@forkpoint/store';
import type { Finding, FindingKind } from '@forkpoint/store';
import { durationText } from './ui/format.ts';
import type { Handover } from './commands/restore.ts';

/** What the launcher's short words mean. */
const REASONS: Readonly<
  Record<string, { kind: FindingKind; text: (detail: string) => string; hint?: string }>
> = {
  'no-image': { kind: 'image', text: (detail) => `there is no image at ${detail}` },
  plan: {
    kind: 'image',
    text: (detail) => `the restore plan is not usable: ${detail}`,
    hint: 'Take the checkpoint again',
  },
  newer: {
    kind: 'newer',
    text: (detail) => `${detail} has a newer format`,
    hint: 'Install a newer forkpoint',
  },
  manifest: {
    kind: 'image',
    text: (detail) => `the manifest ${detail} is not usable`,
    hint: 'Take the checkpoint again',
  },
  part: {
    kind: 'layer',
    text: (detail) => `the image's file ${detail} is damaged`,
    hint: 'Take the checkpoint again',
  },
  unpack: {
    kind: 'image',
    text: (detail) => `the compressed image ${detail} cannot be unpacked`,
    hint: 'Look at it with `forkpoint verify`',
  },
  home: {
    kind: 'control',
    text: (detail) => `the data directory cannot be used: ${detail}`,
    hint: 'Set FORKPOINT_HOME to an absolute path',
  },
  engine: { kind: 'engine', text: () => 'the engine has not been set up', hint: 'Run `forkpoint setup`' },
  cpu: { kind: 'cpu', text: () => 'the image needs processor features that this machine lacks' },
  pids: {
    kind: 'pid',
    text: (detail) => `the image has pids up to ${detail}, and pids here end earlier`,
    hint: 'Let an administrator raise kernel.pid_max',
  },
  cwd: { kind: 'cwd', text: (detail) => `the working directory ${detail} is not there` },
  file: {
    kind: 'file',
    text: (detail) => `the file ${detail} is missing or has changed since the checkpoint`,
    hint: 'Take the checkpoint again',
  },
  'in-use': {
    kind: 'address',
    text: (detail) => `the address ${detail} is in use`,
    hint: 'Use --listen to give another address',
  },
  locked: {
    kind: 'lock',
    text: (detail) => `another process holds the lock of the file ${detail}, which the program held as well`,
    hint: 'End the process that holds the lock, such as the original program',
  },
  listen: { kind: 'address', text: (detail) => `the address ${detail} cannot be listened on` },
  'no-slot': {
    kind: 'address',
    text: (detail) => `--listen ${detail} names no slot of the image`,
    hint: 'See the slots with `forkpoint inspect IMAGE`',
  },
  'no-file-slot': {
    kind: 'address',
    text: (detail) => `--fd ${detail} names no file slot of the image`,
    hint: 'See the slots with `forkpoint inspect IMAGE`',
  },
  'slot-file': {
    kind: 'file',
    text: (detail) => `the file ${detail} of a slot cannot be opened`,
    hint: 'Give another file: --fd SLOT=PATH',
  },
  noexec: {
    kind: 'control',
    text: (detail) => `the image maps code, and ${detail} is mounted noexec`,
    hint: 'Mount it with exec, or run `forkpoint flatten IMAGE`: its code is then copied',
  },
  'mount-point': {
    kind: 'control',
    text: (detail) => `the control directory ${detail} cannot be made`,
    hint: 'An image is restored with the FORKPOINT_HOME that it was taken with',
  },
};

const SAME: readonly FindingKind[] = [
  'file',
  'cwd',
  'cpu',
  'pid',
  'engine',
  'control',
  'image',
  'layer',
  'newer',
  'launcher',
  'machine',
];
const TAIL_BYTES = 65_536;

/** Returns every reason why a restore was handed over: the launcher's own, unless the preflight tells the same in better words, and the preflight's. */
export async function explainReason(handover: Handover, found: readonly Finding[]): Promise<Finding[]> {
  const { reason, detail } = handover;
  const known = Object.hasOwn(REASONS, reason) ? REASONS[reason] : undefined;
  if (known === undefined) {
    // The pod was made already: what failed is told in words, and the detail is the directory of the run.
    const log = readEngineLog(await tail(join(detail, 'restore.log')));
    await dropRun(handover, detail);
    // Where the cause is understood, the first of CRIU's own lines is enough.
    const isUnderstood = log.reason !== null && log.code !== 'unknown';
    const lines = isUnderstood ? log.errors.slice(0, 1) : log.errors.slice(-3);
    return [
      ...(!isUnderstood
        ? []
        : [{ message: log.reason ?? '', ...(log.hint === null ? {} : { hint: log.hint }) }]),
      failureOf(reason),
      ...lines.map((message) => ({ message })),
    ].map((finding) => ({ kind: 'engine', ...finding }));
  }
  // Addresses are the one thing that the command line can change, and the launcher has tried the changed ones.
  const others = found.filter((finding) => finding.kind !== 'address');
  if (
    known.kind !== 'address' &&
    others.some((finding) => finding.kind === known.kind && SAME.includes(known.kind))
  )
    return found.filter((finding) => keep(finding, handover));
  // Only the preflight knows which slot has the address.
  const message = known.text(detail);
  const hint = found.find((finding) => finding.message === message)?.hint ?? known.hint;
  const own: Finding = {
    kind: known.kind,
    message,
    ...(hint === undefined ? {} : { hint }),
  };
  const isTold = known.kind === 'address' && found.some((finding) => finding.message === own.message);
  return [
    own,
    ...found.filter((finding) => keep(finding, handover) && !(isTold && finding.message === own.message)),
  ];
}

/** Removes the directory of a run that never ran. With FORKPOINT_DEBUG it stays, with CRIU's whole log in it. */
async function dropRun({ runs }: Handover, dir: string): Promise<void> {
  if (dirname(dir) !== runs || !isId(basename(dir)) || process.env['FORKPOINT_DEBUG'] === '1') return;
  await rm(dir, { recursive: true, force: true });
}

/** Says what the launcher means by `restore engine STATUS`, `restore timeout MS` and `restore pids BASE`; other text speaks for itself. */
function failureOf(reason: string): { message: string; hint?: string } {
  const [, word, value = ''] = /^restore (engine|timeout|pids) (\d+)$/.exec(reason) ?? [];
  if (word === 'engine') return { message: `CRIU ended with exit code ${value}` };
  if (word === 'timeout') return { message: `CRIU did not end within ${durationText(Number(value))}` };
  if (word === 'pids')
    return { message: `the image has pids up to ${value}, and the pod's pids end earlier` };
  const [message = '', hint] = reason.split('\nHint: ');
  return { message, ...(hint === undefined ? {} : { hint }) };
}

function keep(finding: Finding, handover: Handover): boolean {
  return finding.kind !== 'address' || !handover.args.some((arg) => arg.startsWith('--listen'));
}

async function tail(log: string): Promise<string> {
  try {
    const handle = await open(log, 'r');
    try {
      const { size } = await handle.stat();
      const start = Math.max(0, size - TAIL_BYTES);
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(TAIL_BYTES), 0, TAIL_BYTES, start);
      return buffer.subarray(0, bytesRead).toString('utf8');
    } finally {
      await handle.close();
    }
  } catch (error) {
    // CRIU did not come so far as to write one.
    if (errnoOf(error) === undefined) throw error;
    return '';
  }
}
