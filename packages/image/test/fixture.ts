import { readdirSync, readFileSync } from 'node:fs';
import type { ImageSource } from '../src/index.ts';

/** Names of the recorded images below `fixtures`. */
export const FIXTURES = ['zoo', 'node', 'shm'] as const;

/** A recorded image; its pages files have a size but no content. */
export function fixture(name: (typeof FIXTURES)[number]): Required<Omit<ImageSource, 'readRange'>> {
  const directory = new URL(`./fixtures/${name}/`, import.meta.url);
  const pages: Record<string, number> = JSON.parse(readFileSync(new URL('pages.json', directory), 'utf8'));
  const names = readdirSync(directory).filter((file) => file !== 'pages.json');
  return {
    names: [...names, ...Object.keys(pages)],
    read: (file) => {
      const size = pages[file];
      return size === undefined
        ? new Uint8Array(readFileSync(new URL(file, directory)))
        : new Uint8Array(size);
    },
    size: (file) => pages[file] ?? readFileSync(new URL(file, directory)).length,
  };
}

/** The same image with some files replaced. */
export function withFiles(
  source: ImageSource,
  files: ReadonlyMap<string, Uint8Array>,
): Required<Omit<ImageSource, 'readRange'>> {
  const names = new Set([...source.names, ...files.keys()]);
  const read = (name: string): Uint8Array => files.get(name) ?? source.read(name);
  const size = (name: string): number =>
    files.get(name)?.length ?? source.size?.(name) ?? source.read(name).length;
  return { names: [...names], read, size };
}
