// What the tour measures: pages of a server, memory of a process, size of an image.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { TourError } from './stage.mjs';

const START_LIMIT_MS = 30_000;
const PAGE_LIMIT_MS = 10_000;

/** Fetches a page on a connection of its own. */
export function page(port, path) {
  return new Promise((resolve, reject) => {
    const request = get(
      { host: '127.0.0.1', port, path, agent: false, timeout: PAGE_LIMIT_MS },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part) => (text += part));
        response.on('end', () => resolve(text));
        response.on('error', reject);
      },
    );
    request.on('timeout', () => request.destroy(new TourError(`port ${port} gave no answer within 10 s`)));
    request.on('error', reject);
  });
}

/** Asks until a server that is starting answers, every 2 ms, for at most 30 s; fails when `child` ends before. */
export async function firstAnswer(port, path, child) {
  const deadline = Date.now() + START_LIMIT_MS;
  let code = null;
  const watching = child?.ended.then((value) => (code = value));
  watching?.catch(() => (code = 127));
  for (;;) {
    if (code !== null)
      throw new TourError(`the server ended with exit code ${code} before it answered\n${child.errors}`);
    try {
      return await page(port, path);
    } catch (error) {
      // Reset: the connection met a listener that was just being handed over.
      const isEarly = error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET';
      if (!isEarly) throw error;
      if (Date.now() > deadline) throw new TourError(`no server answers on port ${port} after 30 s`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** Returns the memory of the youngest descendant of a process, as `forkpoint ps` counts it; null when it cannot be seen. */
export function memoryOf(pid) {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').slice(-1);
    if (child !== '') return memoryOf(child);
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    const sum = (word) =>
      [...rollup.matchAll(new RegExp(`^${word}_(?:Clean|Dirty): +(\\d+) kB`, 'gm'))].reduce(
        (total, match) => total + Number(match[1]),
        0,
      );
    return { privateBytes: sum('Private') * 1024, sharedBytes: sum('Shared') * 1024 };
  } catch {
    // A kernel without these files, or a process of somebody else: the table has a dash there.
    return null;
  }
}

/** Returns the bytes of all files below a directory. */
export function sizeOf(directory) {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(directory, name)))
    .reduce((sum, status) => sum + (status.isFile() ? status.size : 0), 0);
}
