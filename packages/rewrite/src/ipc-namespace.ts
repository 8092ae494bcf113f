import type { Draft } from './draft.ts';

/**
 * Takes an ipc namespace without objects out of the image, and returns whether one with objects stays in it.
 *
 * CRIU sets the limits of an ipc namespace that it restores (prepare_ipc_var in criu/ipc_ns.c), and the kernel lets only
 * a mapped uid 0 do that (ipc_permissions in ipc/ipc_sysctl.c), which a rootless pod lacks. The launcher starts CRIU in a
 * fresh ipc namespace anyway: where there are no queues and semaphores that is all the program had.
 */
export function dropEmptyIpcNamespace(draft: Draft): boolean {
  const inventory = draft.image.find('inventory', 'inventory.img');
  const outside = inventory?.entries[0]?.message.rootIds?.ipcNsId;
  const hasObjects = (['ipcns-msg', 'ipcns-sem', 'ipcns-shm'] as const).some((kind) =>
    draft.image.all(kind).some((file) => file.entries.length > 0),
  );
  if (hasObjects || outside === undefined) return hasObjects;
  for (const file of draft.image.all('ids')) {
    for (const { message } of file.entries) {
      if (message.ipcNsId === outside) continue;
      message.ipcNsId = outside;
      draft.touch(file);
    }
  }
  return false;
}
