import { closeSync, openSync, readSync } from 'node:fs';

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_NOTE = 4;
/** Go's linker writes few and small notes; more than this is none of its. */
const NOTES_MAX = 1 << 16;
const PROGRAM_HEADERS_MAX = 128;

/** Returns `isGo` with a memory, for a program whose processes map the same files. */
export function goFinder(): (path: string) => boolean {
  const known = new Map<string, boolean>();
  return (path) => {
    const answer = known.get(path) ?? isGo(path);
    known.set(path, answer);
    return answer;
  };
}

/**
 * Tells whether an ELF file holds code of Go, by the note with its build id (cmd/link, `.note.go.buildid`). Go calls the
 * kernel itself, so that no preload sees how it gives memory back. False for what is no ELF file or cannot be read.
 */
export function isGo(path: string): boolean {
  try {
    const fd = openSync(path, 'r');
    try {
      return hasGoNote((offset, length) => readAt(fd, offset, length));
    } finally {
      closeSync(fd);
    }
  } catch {
    // It was deleted since it was mapped, or belongs to somebody else; Go programs are neither in practice.
    return false;
  }
}

function hasGoNote(read: (offset: number, length: number) => Buffer): boolean {
  const header = read(0, HEADER_BYTES);
  if (header.length < HEADER_BYTES || header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2) return false;
  const count = Math.min(header.readUInt16LE(56), PROGRAM_HEADERS_MAX);
  const table = read(Number(header.readBigUInt64LE(32)), count * PROGRAM_HEADER_BYTES);
  for (let at = 0; at + PROGRAM_HEADER_BYTES <= table.length; at += PROGRAM_HEADER_BYTES) {
    if (table.readUInt32LE(at) !== PT_NOTE) continue;
    const size = Math.min(Number(table.readBigUInt64LE(at + 32)), NOTES_MAX);
    if (namesGo(read(Number(table.readBigUInt64LE(at + 8)), size))) return true;
  }
  return false;
}

function namesGo(notes: Buffer): boolean {
  for (let at = 0; at + 12 <= notes.length;) {
    const nameBytes = notes.readUInt32LE(at);
    const descriptionBytes = notes.readUInt32LE(at + 4);
    if (notes.toString('latin1', at + 12, at + 12 + nameBytes).replace(/\0+$/, '') === 'Go') return true;
    at += 12 + Math.ceil(nameBytes / 4) * 4 + Math.ceil(descriptionBytes / 4) * 4;
  }
  return false;
}

function readAt(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
}
