import type { ControlDirectory } from './control-directory.ts';
import { parseAssignment } from './wire.ts';
import type { HookContext } from './types.ts';

/** Stands for a line in the rehearsal. */
const NOTHING = '{"v":1,"args":["a"],"env":{"A":"a"}}';

/**
 * Blocks the thread of a parked clone until it is handed over, and returns who it is then. What handing over runs through
 * is run through once before, so that the memory it writes to is there already.
 */
export function standUntilAssigned(control: ControlDirectory, identity: HookContext): HookContext {
  parseAssignment(NOTHING, identity);
  const writeIdentity = control.identityWriter();
  writeIdentity(identity);
  const assigned = parseAssignment(control.blockForAssignment(), identity);
  // Worker threads, which stand still behind this one, read their variables there.
  if (assigned.args.length > 0 || Object.keys(assigned.env).length > 0) writeIdentity(assigned);
  return assigned;
}
