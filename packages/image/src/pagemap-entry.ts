import { create } from '@bufbuild/protobuf';
import { pagemap_entrySchema } from './gen/pagemap_pb.ts';
import type { pagemap_entry } from './gen/pagemap_pb.ts';

/** Tags of the fields, all of them varints: number times 8. */
const VADDR = 8;
const COMPAT_NR_PAGES = 16;
const FLAGS = 32;
const NR_PAGES = 40;
/** Bytes of a varint whose value a number holds exactly. */
const EXACT_BYTES = 7;

/**
 * Returns a pagemap entry as CRIU writes it, or null when there is anything else in it: then the generic decoder has to
 * look. CRIU writes an entry for each megabyte or so, and the generic decoder takes 3 microseconds for one, which is most
 * of the time that an image of gigabytes takes to be linked.
 */
export function readPagemapEntry(bytes: Uint8Array, from: number, to: number): pagemap_entry | null {
  const entry = create(pagemap_entrySchema);
  let seen = 0;
  let at = from;
  while (at < to) {
    const tag = bytes[at++] ?? 0;
    let value = 0;
    let scale = 1;
    const end = Math.min(to, at + EXACT_BYTES);
    for (;;) {
      const byte = bytes[at++] ?? 0;
      if (at > end) return null;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 128;
    }
    // Each field once and in order, so that nothing is overwritten.
    if (tag <= seen) return null;
    seen = tag;
    if (tag === VADDR) entry.vaddr = BigInt(value);
    else if (tag === NR_PAGES) entry.nrPages = BigInt(value);
    else if (value > 0xffff_ffff) return null;
    else if (tag === COMPAT_NR_PAGES) entry.compatNrPages = value;
    else if (tag === FLAGS) entry.flags = value;
    else return null;
  }
  return Object.hasOwn(entry, 'vaddr') && Object.hasOwn(entry, 'compatNrPages') ? entry : null;
}
