/** A function, or a variable, that an ELF file takes from a library. */
export interface Import {
  readonly name: string;
  /** A variable: the loader copies its first value out of the library. */
  readonly isVariable: boolean;
  readonly version: string;
  /** The library's name, such as `libgnutls.so.30`. */
  readonly library: string;
}

interface Section {
  readonly type: number;
  readonly bytes: Buffer;
  readonly link: number;
}

const SHT_STRTAB = 3;
const SHT_DYNSYM = 11;
const SHT_VERNEED = 0x6ffffffe;
const SHT_VERSYM = 0x6fffffff;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;
const STT_OBJECT = 1;
const SECTIONS_MAX = 1024;

/**
 * Returns the versioned functions and variables that a 64-bit little-endian ELF file imports; those without a version
 * belong to no library in particular and are left out. Throws a RangeError for anything that is no such file.
 */
export function importsOf(file: Uint8Array): Import[] {
  const sections = readSections(Buffer.from(file.buffer, file.byteOffset, file.byteLength));
  const symbols = sections.find(({ type }) => type === SHT_DYNSYM);
  const versions = sections.find(({ type }) => type === SHT_VERSYM);
  const needs = sections.find(({ type }) => type === SHT_VERNEED);
  if (symbols === undefined || versions === undefined || needs === undefined) return [];
  const names = needed(needs, strings(sections, needs));
  const table = strings(sections, symbols);
  const imports: Import[] = [];
  for (let at = 0; (at + 1) * SYMBOL_BYTES <= symbols.bytes.length; at++) {
    // Only what is imported has a version of another file; a variable is imported and has a place here all the same.
    const from = names.get(versions.bytes.readUInt16LE(at * 2) & 0x7fff);
    if (from === undefined) continue;
    const name = text(table, symbols.bytes.readUInt32LE(at * SYMBOL_BYTES));
    imports.push({
      name,
      isVariable: ((symbols.bytes[at * SYMBOL_BYTES + 4] ?? 0) & 15) === STT_OBJECT,
      ...from,
    });
  }
  return imports;
}

function readSections(file: Buffer): Section[] {
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1)
    throw new RangeError('this is not a 64-bit little-endian ELF file');
  const offset = Number(file.readBigUInt64LE(40));
  const count = file.readUInt16LE(60);
  if (count > SECTIONS_MAX || offset + count * SECTION_HEADER_BYTES > file.length)
    throw new RangeError('this ELF file has malformed section headers');
  return Array.from({ length: count }, (_, index) => {
    const at = offset + index * SECTION_HEADER_BYTES;
    const start = Number(file.readBigUInt64LE(at + 24));
    const size = Number(file.readBigUInt64LE(at + 32));
    return {
      type: file.readUInt32LE(at + 4),
      bytes: file.subarray(start, start + size),
      link: file.readUInt32LE(at + 40),
    };
  });
}

function strings(sections: readonly Section[], { link }: Section): Buffer {
  const table = sections[link];
  if (table?.type !== SHT_STRTAB) throw new RangeError('this ELF file has symbols without names');
  return table.bytes;
}

/** Version numbers of symbols, with the version's name and the library that has it. */
function needed({ bytes }: Section, table: Buffer): Map<number, { version: string; library: string }> {
  const found = new Map<number, { version: string; library: string }>();
  for (let at = 0; ;) {
    const library = text(table, bytes.readUInt32LE(at + 4));
    for (let entry = at + bytes.readUInt32LE(at + 8); ;) {
      const version = text(table, bytes.readUInt32LE(entry + 8));
      found.set(bytes.readUInt16LE(entry + 6), { version, library });
      const next = bytes.readUInt32LE(entry + 12);
      if (next === 0) break;
      entry += next;
    }
    const next = bytes.readUInt32LE(at + 12);
    if (next === 0) return found;
    at += next;
  }
}

function text(table: Buffer, at: number): string {
  return table.toString('latin1', at, table.indexOf(0, at));
}
