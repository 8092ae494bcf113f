import { open, readdir, readFile } from 'node:fs/promises';

const CHUNK = 1 << 20;

/**
 * Has the page tables of a clone's linked memory filled by reading it from outside, at most `limit` bytes: the clone then
 * does not fault on each page for the first time. Nothing is copied: the pages stay shared. Resolves to the bytes.
 */
export async function prefault(hostPids: readonly number[], limit: number): Promise<number> {
  let done = 0;
  const into = Buffer.allocUnsafe(CHUNK);
  for (const pid of hostPids) {
    const memory = await open(`/proc/${pid}/mem`, 'r').catch(() => undefined);
    // Where other processes' memory may not be read (hidepid, a security module) the clone faults by itself.
    if (memory === undefined) continue;
    try {
      for (const { from, to } of linkedAreas(await readFile(`/proc/${pid}/maps`, 'utf8'))) {
        for (let at = from; at < to && done < limit; at += CHUNK) {
          const length = Math.min(CHUNK, to - at);
          done += (await memory.read(into, 0, length, at)).bytesRead;
        }
      }
    } catch {
      // It ends, or changes its mappings: what is left is faulted when it is needed.
    } finally {
      await memory.close();
    }
  }
  return done;
}

/** Returns the process and all its descendants. */
export async function treeOf(pid: number): Promise<number[]> {
  const found: number[] = [];
  const walk = async (one: number): Promise<void> => {
    for (const thread of await readdir(`/proc/${one}/task`).catch(() => [])) {
      const text = await readFile(`/proc/${one}/task/${thread}/children`, 'utf8').catch(() => '');
      for (const child of text.split(' ').filter(Boolean).map(Number)) {
        found.push(child);
        await walk(child);
      }
    }
  };
  await walk(pid);
  return found;
}

function linkedAreas(maps: string): { from: number; to: number }[] {
  return [...maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) r\S\Sp .*\/layers\/\S+\.pages$/gm)].map((match) => ({
    from: Number.parseInt(match[1] ?? '0', 16),
    to: Number.parseInt(match[2] ?? '0', 16),
  }));
}
