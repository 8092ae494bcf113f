import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './places.ts';

/** What test users have computed so far: each would read every runtime of 100 MB once more. By device, inode, size and times. */
const KNOWN = join(root, '.forkpoint/digests.json');
/** Programs that tests compile come and go. */
const KEPT = 2000;
const MEMORY = 'cache/digests.json';

interface Memory {
  readonly version: number;
  readonly files: Readonly<Record<string, string>>;
}

/** Gives a new data directory the digests of mapped files that others have computed, as somebody has who has used forkpoint before. */
export function lendDigests(home: string, uid: number): void {
  mkdirSync(join(home, dirname(MEMORY)), { mode: 0o700 });
  if (existsSync(KNOWN)) copyFileSync(KNOWN, join(home, MEMORY));
  if (process.getuid?.() !== 0) return;
  for (const path of [dirname(MEMORY), MEMORY])
    if (existsSync(join(home, path))) chownSync(join(home, path), uid, uid);
}

/** Adds the digests of a data directory to what is known. Two at once lose one of theirs, which costs time only. */
export function keepDigests(home: string): void {
  const [known, own] = [read(KNOWN), read(join(home, MEMORY))];
  if (Object.keys(own).every((key) => key in known)) return;
  mkdirSync(dirname(KNOWN), { recursive: true });
  const draft = `${KNOWN}.${process.pid}`;
  const memory: Memory = {
    version: 1,
    files: Object.fromEntries(Object.entries({ ...known, ...own }).slice(-KEPT)),
  };
  writeFileSync(draft, JSON.stringify(memory));
  renameSync(draft, KNOWN);
}

function read(path: string): Memory['files'] {
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as Memory).files;
  } catch {
    // There is none yet.
    return {};
  }
}
