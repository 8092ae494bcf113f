import type { Letter } from './schema.ts';
import { textToBytes } from './text.ts';

const FIRST_BYTES = 1024;
const TWO_32 = 2 ** 32;
const UINT32_MAX = TWO_32 - 1;
const COUNTED: ReadonlySet<Letter> = new Set(['t', 'y']);

/** Writes a message in protocol buffers' binary format. Throws RangeError for values that a field cannot have. */
export class Writer {
  #bytes = new Uint8Array(FIRST_BYTES);
  #at = 0;
  /** Where the messages begin that are being written. */
  readonly #open: number[] = [];

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  /** Begins a message within this one. */
  begin(number: number): void {
    this.#varint(number * 8 + 2);
    this.#open.push(this.#at);
  }

  /** Ends the message that was begun last, and puts its length in front of it. */
  end(): void {
    const start = this.#open.pop() ?? 0;
    const length = this.#at - start;
    const size =
      length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : length < 0x1000_0000 ? 4 : 5;
    this.#reserve(size);
    this.#bytes.copyWithin(start + size, start, this.#at);
    this.#at = start;
    this.#varint(length);
    this.#at = start + size + length;
  }

  unknown(number: number, wireType: number, data: Uint8Array): void {
    this.#varint(number * 8 + wireType);
    this.#raw(data);
  }

  scalar(number: number, type: Letter, value: unknown): void {
    this.#varint(number * 8 + (COUNTED.has(type) ? 2 : type === 'F' ? 1 : 0));
    if (typeof value === 'number') this.#number(type, value);
    else if (typeof value === 'bigint') this.#wide(type, value);
    else if (type === 'b' && typeof value === 'boolean') this.#varint(value ? 1 : 0);
    else if (type === 't' && typeof value === 'string') this.#counted(textToBytes(value));
    else if (type === 'y' && value instanceof Uint8Array) this.#counted(value);
    else throw unfit(type, value);
  }

  #number(type: Letter, value: number): void {
    const isSigned = type === 'i' || type === 'e' || type === 'z';
    if (type === 'u' && Number.isInteger(value) && value >= 0 && value <= UINT32_MAX) this.#varint(value);
    else if (!isSigned || (value | 0) !== value) throw unfit(type, value);
    else if (type === 'z') this.#varint(((value << 1) ^ (value >> 31)) >>> 0);
    // Negative numbers are written with 64 bits.
    else if (value >= 0) this.#varint(value);
    else this.#words(value >>> 0, UINT32_MAX);
  }

  #wide(type: Letter, value: bigint): void {
    const isSigned = type === 'I' || type === 'Z';
    if (!isSigned && type !== 'U' && type !== 'F') throw unfit(type, value);
    if ((isSigned ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)) !== value) throw unfit(type, value);
    const bits = BigInt.asUintN(64, type === 'Z' ? (value << 1n) ^ (value >> 63n) : value);
    const [low, high] = [Number(bits & 0xffff_ffffn), Number(bits >> 32n)];
    if (type !== 'F') {
      this.#words(low, high);
      return;
    }
    this.#reserve(8);
    for (const word of [low, high])
      for (let shift = 0; shift < 32; shift += 8) this.#bytes[this.#at++] = (word >>> shift) & 0xff;
  }

  /** Writes the varint of a number that it is exact for. */
  #varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#at++] = rest;
  }

  #words(low: number, high: number): void {
    if (high < 2 ** 21) {
      this.#varint(high * TWO_32 + low);
      return;
    }
    this.#reserve(10);
    let [a, b] = [low, high];
    while (b !== 0 || a >= 0x80) {
      this.#bytes[this.#at++] = (a & 0x7f) | 0x80;
      a = ((a >>> 7) | (b << 25)) >>> 0;
      b >>>= 7;
    }
    this.#bytes[this.#at++] = a;
  }

  #counted(bytes: Uint8Array): void {
    this.#varint(bytes.length);
    this.#raw(bytes);
  }

  #raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #reserve(count: number): void {
    const needed = this.#at + count;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}

function unfit(type: Letter, value: unknown): RangeError {
  return new RangeError(`${String(value)} is no value of a field of type ${type}`);
}
