import { bytesToText } from './text.ts';

const NOTHING = new Uint8Array(0);
const TWO_32 = 2 ** 32;
/** High words below this leave a number that is exact. */
const EXACT = 2 ** 21;

/** Reads the pieces of a message in protocol buffers' binary format. Every function throws RangeError where the bytes end too early. */
class Reader {
  at = 0;
  #bytes: Uint8Array = NOTHING;
  /** The words of the last varint. */
  #low = 0;
  #high = 0;

  open(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.at = 0;
  }

  close(): void {
    this.#bytes = NOTHING;
  }

  uint32(): number {
    const byte = this.#bytes[this.at];
    if (byte !== undefined && byte < 0x80) {
      this.at++;
      return byte;
    }
    this.#varint();
    return this.#low;
  }

  /** Returns number and wire type of a field, as `number * 8 + type`. */
  tag(): number {
    const from = this.at;
    const tag = this.uint32();
    const last = this.at - from > 4 ? (this.#bytes[this.at - 1] ?? 0) : 0;
    if (this.at - from > 5 || last > 0x0f || tag < 8 || (tag & 7) > 5)
      throw new RangeError('there is no such field');
    return tag;
  }

  uint64(): bigint {
    this.#varint();
    return this.#whole();
  }

  zigzag32(): number {
    this.#varint();
    return (this.#low >>> 1) ^ -(this.#low & 1);
  }

  zigzag64(): bigint {
    const value = this.uint64();
    return (value >> 1n) ^ -(value & 1n);
  }

  fixed64(): bigint {
    const bytes = this.#take(8);
    const word = (from: number): number =>
      ((bytes[from] ?? 0) |
        ((bytes[from + 1] ?? 0) << 8) |
        ((bytes[from + 2] ?? 0) << 16) |
        ((bytes[from + 3] ?? 0) << 24)) >>>
      0;
    [this.#low, this.#high] = [word(0), word(4)];
    return this.#whole();
  }

  bool(): boolean {
    this.#varint();
    return this.#low !== 0 || this.#high !== 0;
  }

  bytes(): Uint8Array {
    return this.#take(this.uint32());
  }

  text(): string {
    return bytesToText(this.bytes());
  }

  /** Reads a length, and returns where what has it ends. */
  length(): number {
    const length = this.uint32();
    if (length > this.#bytes.length - this.at) throw tooShort();
    return this.at + length;
  }

  /** Returns the bytes of a field behind its tag, and goes on behind them. */
  skip(wireType: number, number: number, depth: number): Uint8Array {
    const start = this.at;
    this.#pass(wireType, number, depth);
    return this.#bytes.subarray(start, this.at);
  }

  #pass(wireType: number, number: number, depth: number): void {
    if (wireType === 0) this.#varint();
    else if (wireType === 1) this.#take(8);
    else if (wireType === 2) this.#take(this.uint32());
    else if (wireType === 5) this.#take(4);
    else if (wireType !== 3) throw new RangeError(`a field has the wire type ${wireType}`);
    else {
      if (depth <= 0) throw new RangeError('groups nest too deep');
      for (;;) {
        const tag = this.tag();
        if ((tag & 7) === 4) {
          if (tag >>> 3 !== number) throw new RangeError('a group ends that has not begun');
          return;
        }
        this.#pass(tag & 7, tag >>> 3, depth - 1);
      }
    }
  }

  #take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.at) throw tooShort();
    const start = this.at;
    this.at += length;
    return this.#bytes.subarray(start, this.at);
  }

  #varint(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) throw tooShort();
      const bits = byte & 0x7f;
      if (shift < 32) low |= bits << shift;
      if (shift === 28) high = bits >> 4;
      else if (shift > 28) high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.#low = low >>> 0;
        this.#high = high >>> 0;
        return;
      }
    }
    throw new RangeError('a number has more than ten bytes');
  }

  #whole(): bigint {
    if (this.#high < EXACT) return BigInt(this.#high * TWO_32 + this.#low);
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }
}

function tooShort(): RangeError {
  return new RangeError('the bytes end too early');
}

/** One for all: messages are read one after the other. */
export const reader: Reader = new Reader();
