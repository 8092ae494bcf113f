import { readdirSync, readFileSync } from 'node:fs';
import { create, decodeImage, encodeImage, KINDS, kindOf } from '@forkpoint/image';
import type { ImageSource, MessageFile, MessageKind, MessageOf, Values } from '@forkpoint/image';
import type { RewriteResult } from '../src/index.ts';

/** A recorded image of the package `image`; its pages files have a size but no content. */
export function fixture(name: 'zoo' | 'node' | 'shm'): Required<Omit<ImageSource, 'readRange'>> {
  const directory = new URL(`../../image/test/fixtures/${name}/`, import.meta.url);
  const pages: Record<string, number> = JSON.parse(readFileSync(new URL('pages.json', directory), 'utf8'));
  const files = readdirSync(directory).filter((file) => file !== 'pages.json');
  return fromMap(
    new Map([
      ...files.map((file) => [file, new Uint8Array(readFileSync(new URL(file, directory)))] as const),
      ...Object.entries(pages).map(([file, size]) => [file, new Uint8Array(size)] as const),
    ]),
  );
}

/** The image with the files of a rewrite in place. */
export function applied(
  source: ImageSource,
  result: RewriteResult,
): Required<Omit<ImageSource, 'readRange'>> {
  return fromMap(new Map([...contents(source), ...result.files]));
}

/** The image with one of its files changed. */
export function edited<Kind extends MessageKind>(
  source: ImageSource,
  kind: Kind,
  name: string,
  change: (file: MessageFile<Kind>) => void,
): Required<Omit<ImageSource, 'readRange'>> {
  const file = messages(source, kind, name);
  change(file);
  // The kinds of the union cannot be told apart for a type parameter.
  return fromMap(new Map([...contents(source), [name, encodeImage(file as never)]]));
}

/** A message file of an image. */
export function messages<Kind extends MessageKind>(
  source: ImageSource,
  kind: Kind,
  name: string,
): MessageFile<Kind> {
  const isThere = source.names.includes(name);
  const file = isThere ? decodeImage(name, source.read(name)) : { kind: kindOf(name), name, entries: [] };
  if (file.kind !== kind) throw new Error(`${name} is no ${kind}`);
  return file as unknown as MessageFile<Kind>; // as checked
}

/** Adds an entry to a file; file descriptions and terminals take the place of the one with the same id. */
export function put<Kind extends MessageKind>(file: MessageFile<Kind>, init: Values<MessageOf<Kind>>): void {
  const message = create(KINDS[file.kind].schema() as never, init as never) as unknown as MessageOf<Kind>;
  const id = (item: unknown): unknown => (item as { id?: unknown }).id;
  const isUnique = file.kind !== 'fdinfo';
  const at = isUnique ? file.entries.findIndex((entry) => id(entry.message) === id(message)) : -1;
  const entry = { message, payload: new Uint8Array(0) };
  if (at < 0) file.entries.push(entry);
  else file.entries[at] = entry;
}

/** Owner of a descriptor's signals: nobody. */
export const NOBODY = { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 };

function contents(source: ImageSource): Map<string, Uint8Array> {
  return new Map(source.names.map((name) => [name, source.read(name)]));
}

function fromMap(files: ReadonlyMap<string, Uint8Array>): Required<Omit<ImageSource, 'readRange'>> {
  const read = (name: string): Uint8Array => {
    const bytes = files.get(name);
    if (!bytes) throw new Error(`no ${name}`);
    return bytes;
  };
  return { names: [...files.keys()], read, size: (name) => read(name).length };
}
