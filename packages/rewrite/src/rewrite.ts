import type { ImageDirectory, ImageSource } from '@forkpoint/image';
import { relaxCredentials } from './credentials.ts';
import { Draft } from './draft.ts';
import { dropInFlight } from './in-flight.ts';
import { dropEmptyIpcNamespace } from './ipc-namespace.ts';
import { slotListeners } from './listeners.ts';
import { closeOutside } from './outside.ts';
import { relaxLayers, relaxWritableFiles } from './logs.ts';
import { applyPolicies } from './policies.ts';
import { repairSharedMemory, unusedPages } from './shared-memory.ts';
import { slotStdio } from './stdio.ts';
import { restartTimers } from './timers.ts';
import type { RewriteOptions, RewriteResult } from './types.ts';
import { repairZombies } from './zombies.ts';

/**
 * Changes a fresh image of CRIU 4.x so that it can be restored anywhere, any number of times: standard streams and
 * listening sockets become slots, connections to other programs over unix sockets are closed, files open for writing are
 * not compared, bytes in flight of the control directory are
 * dropped, supplementary groups are emptied, and what a rootless dump gets wrong about memfds, shared memory and zombies
 * is repaired, and periodic timers run on. Pure: it reads from `source` and returns the new bytes of the files that changed; the values of an ImageDirectory change with them.
 *
 * Rewriting a rewritten image changes nothing more but its standard streams into the same slots. Throws ImageError for
 * an image that is incomplete or malformed.
 */
export function rewrite(source: ImageSource | ImageDirectory, options: RewriteOptions = {}): RewriteResult {
  const draft = new Draft(source);
  const terminal = slotStdio(draft);
  const decisions = applyPolicies(draft, options.policyOf);
  slotListeners(draft, decisions);
  const datagramPeers = closeOutside(draft);
  relaxWritableFiles(draft, decisions);
  relaxLayers(draft, options.ctlPath);
  dropInFlight(draft, options.ctlPath);
  relaxCredentials(draft, options.clearCapabilities ?? false);
  restartTimers(draft);
  repairZombies(draft, options.zombies ?? new Map());
  repairSharedMemory(draft);
  const hasIpcObjects = dropEmptyIpcNamespace(draft);
  return {
    files: draft.encode(),
    slots: draft.slots,
    terminal,
    notes: draft.notes,
    unused: unusedPages(draft),
    hasIpcObjects,
    datagramPeers,
  };
}
