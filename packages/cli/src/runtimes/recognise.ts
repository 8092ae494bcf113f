import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { basename } from 'node:path';

/** Runtimes that `forkpoint run` knows; `other` is everything else. */
export type RuntimeKind = 'node' | 'java' | 'jruby' | 'ruby' | 'python' | 'other';

/** What the file of a program tells. */
export interface ProgramFacts {
  readonly kind: RuntimeKind;
  /** Whether it is a program to which nothing can be preloaded: no dynamic linker. */
  readonly isStatic: boolean;
  /** Whether the kernel changes the user or group of whoever starts it; the dynamic linker then ignores preloads. */
  readonly isSetuid: boolean;
}

const HEAD_BYTES = 4096;
const PT_INTERP = 3;

/** Returns what is known of a program by its name and the head of its file. `command` is the word that was typed. */
export function recognise(command: string, file: string): ProgramFacts {
  const head = headOf(file);
  const kind = kindOf(basename(command));
  return {
    kind: kind === 'other' ? kindOf(interpreterOf(head)) : kind,
    isStatic: isStaticProgram(head),
    isSetuid: isSetuid(file),
  };
}

/** Takes `env NAME=VALUE... COMMAND` apart; with options of env(1) nothing is known of what it starts. */
export function behindEnv(command: readonly string[]): {
  prefix: readonly string[];
  set: Readonly<Record<string, string>>;
  rest: readonly string[];
} {
  const at = command.findIndex((word, index) => index > 0 && !/^[A-Za-z_]\w*=/.test(word));
  if (basename(command[0] ?? '') !== 'env' || at < 1 || command[at]?.startsWith('-') === true)
    return { prefix: [], set: {}, rest: command };
  const set = command
    .slice(1, at)
    .map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]);
  return {
    prefix: command.slice(0, at),
    set: Object.fromEntries(set) as Record<string, string>,
    rest: command.slice(at),
  };
}

function kindOf(name: string): RuntimeKind {
  if (/^node(js)?$/.test(name)) return 'node';
  if (/^jruby[\d.-]*(\.sh)?$/.test(name)) return 'jruby';
  if (/^ruby(\d(\.\d+)?)?$/.test(name)) return 'ruby';
  if (/^(python|pypy)(\d(\.\d+)?)?$/.test(name)) return 'python';
  // Distributions and version managers add the version: java21, java-21, openjdk's alternatives.
  return /^java(-?\d+(\.\d+)*)?$/.test(name) ? 'java' : 'other';
}

/** Returns the name of the interpreter in a `#!` line, also behind `env`; empty when there is none. */
function interpreterOf(head: Buffer): string {
  const line = /^#!\s*(.*)/.exec(head.toString('latin1'))?.[1] ?? '';
  const words = line.split(/\s+/).filter((word) => word !== '');
  const first = basename(words[0] ?? '');
  if (first !== 'env') return first;
  return basename(words.slice(1).find((word) => !word.startsWith('-') && !word.includes('=')) ?? '');
}

/** An ELF program without PT_INTERP has no dynamic linker. A head that cannot be read whole counts as dynamic. */
function isStaticProgram(head: Buffer): boolean {
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2) return false;
  const type = head.readUInt16LE(16);
  if (type !== 2 && type !== 3) return false;
  const offset = Number(head.readBigUInt64LE(32));
  const size = head.readUInt16LE(54);
  const count = head.readUInt16LE(56);
  if (size < 56 || offset + size * count > head.length) return false;
  for (let i = 0; i < count; i++) if (head.readUInt32LE(offset + i * size) === PT_INTERP) return false;
  return true;
}

function isSetuid(file: string): boolean {
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
  return (mode & 0o6000) !== 0;
}

function headOf(file: string): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  try {
    const fd = openSync(file, 'r');
    try {
      return head.subarray(0, readSync(fd, head, 0, HEAD_BYTES, 0));
    } finally {
      closeSync(fd);
    }
  } catch {
    // A program that may be executed but not read; its name is all there is.
    return head.subarray(0, 0);
  }
}
