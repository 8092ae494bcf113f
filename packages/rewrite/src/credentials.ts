import type { Draft } from './draft.ts';

const NO_CAPABILITY = [0, 0];
const EVERY_CAPABILITY = [0xffffffff, 0xffffffff];

/**
 * Empties the supplementary groups of every thread: with none in the image CRIU's restorer skips setgroups(2), which
 * fails in a rootless pod and then hangs the restore. The program gets the groups of whoever restores it. With
 * `clearCapabilities` the capability sets are cleared too, see RewriteOptions.
 */
export function relaxCredentials(draft: Draft, clearCapabilities: boolean): void {
  for (const file of draft.image.all('core')) {
    for (const { message } of file.entries) {
      const creds = message.threadCore?.creds;
      if (!creds) continue;
      if (creds.groups.length > 0) {
        creds.groups = [];
        draft.touch(file);
      }
      if (!clearCapabilities) continue;
      creds.capInh = [...NO_CAPABILITY];
      creds.capPrm = [...NO_CAPABILITY];
      creds.capEff = [...NO_CAPABILITY];
      creds.capAmb = [...NO_CAPABILITY];
      creds.capBnd = [...EVERY_CAPABILITY];
      draft.touch(file);
    }
  }
}
