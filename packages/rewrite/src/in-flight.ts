import { pipeOf } from '@forkpoint/image';
import type { Draft } from './draft.ts';

/**
 * Drops the bytes in flight that must not come back: those of FIFOs in the control directory (requests and answers of
 * the run that was checkpointed) and of pipes and FIFOs that have become slots. All others keep theirs.
 */
export function dropInFlight(draft: Draft, ctlPath: string | undefined): void {
  const table = draft.table;
  const kept = new Set<number>();
  const dropped = new Set<number>();
  for (const file of table.byId.values()) {
    const pipe = pipeOf(file);
    if (pipe === undefined) continue;
    const path = table.pathOf(file.id);
    const isControl = ctlPath !== undefined && path?.startsWith(`${ctlPath.replace(/\/+$/, '')}/`) === true;
    (isControl ? dropped : kept).add(pipe);
  }
  for (const kind of ['pipes-data', 'fifo-data'] as const) {
    const file = draft.image.find(kind, `${kind}.img`);
    if (!file) continue;
    const entries = file.entries.filter(
      ({ message }) => kept.has(message.pipeId) && !dropped.has(message.pipeId),
    );
    if (entries.length === file.entries.length) continue;
    file.entries = entries;
    draft.touch(file);
  }
}
