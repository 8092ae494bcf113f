import { availableParallelism, machine } from 'node:os';
import { resolve } from 'node:path';
import { randomUUID } from 'node:crypto';
import { expandPattern } from '@forkpoint/manifest';
import type { Request } from '@forkpoint/manifest';
import { placesAt, resolveImage } from '@forkpoint/store';
import type { Surroundings } from './surroundings.ts';

/**
 * Returns the absolute path at which an image shall appear: the one of the request, else the one given with `--to`
 * when the run was started or restored, else the run's name in the store. Relative paths are resolved against the
 * directory of whoever gave them; patterns (`%g`, `%t`, ...) are expanded now.
 * Throws the errors of a bad pattern or name.
 */
export function destinationOf(request: Request, surroundings: Surroundings): string {
  const { home, identity, rootPid, cpu } = surroundings;
  const given = request.to ?? identity.to ?? identity.name;
  const base = (request.to === undefined ? identity.toCwd : request.cwd) ?? '/';
  const expanded = expandPattern(given, {
    pid: rootPid,
    generation: identity.generation + 1,
    timeMs: Date.now(),
    uuid: randomUUID(),
    arch: machine(),
    cpuFeatures: cpu.join(''),
    cpuCount: availableParallelism(),
    maxHeapBytes: 0,
  });
  return resolveImage(expanded, resolve(base), placesAt(home).images);
}
