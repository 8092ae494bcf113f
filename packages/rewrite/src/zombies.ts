import type { Draft } from './draft.ts';

const TASK_DEAD = 2;
const TASK_ZOMBIE = 6;

/**
 * Gives zombies back the wait status they had in the image this program was restored from, where the dump could not see
 * it. Only a status of 0 is replaced: the kernel shows it for a process whose exit code it hides. A pid that was a
 * zombie then and is one now is the same process, since a zombie keeps its pid until it is reaped.
 */
export function repairZombies(draft: Draft, known: ReadonlyMap<number, number>): void {
  for (const pid of draft.pids) {
    const status = known.get(pid) ?? 0;
    const file = draft.image.find('core', `core-${pid}.img`);
    const task = file?.entries[0]?.message.tc;
    if (!file || !task || status === 0 || task.exitCode !== 0) continue;
    if (task.taskState !== TASK_DEAD && task.taskState !== TASK_ZOMBIE) continue;
    task.exitCode = status;
    draft.touch(file);
    draft.notes.push({
      code: 'zombie-repaired',
      severity: 'repaired',
      message: `process ${pid} has ended with wait status ${status}, which the dump could not see`,
      pid,
    });
  }
}
