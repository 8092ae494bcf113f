import type { ImageDirectory, ImageSummary } from '@forkpoint/image';
import type { PlanLock } from '@forkpoint/manifest';
import type { Slot } from '@forkpoint/rewrite';

/** Kinds of locks as CRIU numbers them (criu/include/file-lock.h). */
const FL_FLOCK = 2;
const FL_LEASE = 8;
const LOCK_EX = 2;
const F_WRLCK = 1;

/** Returns the file locks of an image, with the paths of their files. */
export function locksOf(
  image: ImageDirectory,
  summary: ImageSummary,
  slots: readonly Slot[] = [],
): PlanLock[] {
  const locks: PlanLock[] = [];
  for (const { message } of image.entries('filelocks', 'filelocks.img')) {
    const owner = summary.processes.find(({ pid }) => pid === message.pid);
    const found = owner?.descriptors.find(({ fd }) => fd === message.fd)?.path;
    const slot = slots.find(({ key }) => `/${key}` === found);
    const path = slot?.kind === 'file' ? slot.path : found;
    if (path === undefined || (message.flag & FL_LEASE) !== 0) continue;
    const isFlock = (message.flag & FL_FLOCK) !== 0;
    locks.push({
      path,
      kind: isFlock ? 'flock' : 'range',
      isExclusive: message.type === (isFlock ? LOCK_EX : F_WRLCK),
      start: Number(message.start),
      length: Number(message.len),
    });
  }
  return locks;
}
