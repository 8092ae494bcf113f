import { readFileSync, writeFileSync } from 'node:fs';

const HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const PT_GNU_STACK = 0x6474e551;
const READ_WRITE = 6;

/**
 * Returns a 64-bit little-endian ELF file that says that it needs no executable stack; the same bytes when it does
 * already. tcc 0.9.27 leaves PT_GNU_STACK out of shared objects, and glibc then makes the stack of every program that
 * loads one executable (elf/dl-load.c). The program headers, with one more, move to the end of the file.
 * Throws a RangeError for anything that is no such file.
 */
export function withPlainStack(file: Uint8Array): Uint8Array {
  const view = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  if (view.length < HEADER_SIZE || view.readUInt32BE(0) !== 0x7f454c46 || view[4] !== 2 || view[5] !== 1) {
    throw new RangeError('this is not a 64-bit little-endian ELF file');
  }
  const offset = Number(view.readBigUInt64LE(32));
  const count = view.readUInt16LE(56);
  const size = view.readUInt16LE(54);
  if (size !== PROGRAM_HEADER_SIZE || offset + count * size > view.length) {
    throw new RangeError('this ELF file has malformed program headers');
  }
  const headers = view.subarray(offset, offset + count * size);
  for (let at = 0; at < headers.length; at += size) {
    if (headers.readUInt32LE(at) === PT_GNU_STACK) return file;
  }
  const added = Buffer.alloc(PROGRAM_HEADER_SIZE);
  added.writeUInt32LE(PT_GNU_STACK, 0);
  added.writeUInt32LE(READ_WRITE, 4);
  added.writeBigUInt64LE(16n, 48);
  const end = Math.ceil(view.length / 8) * 8;
  const result = Buffer.concat([view, Buffer.alloc(end - view.length), headers, added]);
  result.writeBigUInt64LE(BigInt(end), 32);
  result.writeUInt16LE(count + 1, 56);
  return result;
}

/** Rewrites a file with `withPlainStack`. */
export function setPlainStack(path: string): void {
  const before = readFileSync(path);
  const after = withPlainStack(before);
  if (after !== before) writeFileSync(path, after);
}
