import { AREA_FILE_PRIVATE } from '@forkpoint/image';
import type { ImageDirectory } from '@forkpoint/image';
import type { ProcessFacts } from './policy.ts';

/** Returns what the policy needs to know of a process of an image. `shimName` is the file name of the preload shim. */
export function factsOf(
  image: ImageDirectory,
  pid: number,
  threads: readonly number[],
  shimName: string,
): ProcessFacts {
  const stackPointers = [pid, ...threads].flatMap((thread) => {
    const pointer = image.entries('core', `core-${thread}.img`)[0]?.message.threadInfo?.gpregs?.sp;
    return pointer === undefined ? [] : [pointer];
  });
  const mm = image.entries('mm', `mm-${pid}.img`)[0]?.message;
  const shims = new Set(
    image
      .entries('files', 'files.img')
      .filter(({ message }) => message.reg?.name.endsWith(`/${shimName}`) === true)
      .map(({ message }) => message.id),
  );
  const hasShim =
    mm?.vmas.some((area) => (area.status & AREA_FILE_PRIVATE) !== 0 && shims.has(Number(area.shmid))) ===
    true;
  return { stackPointers, hasShim };
}
