import { decodeImage, type ImageFile, type Limits, type MessageFile, type PagemapFile } from './codec.ts';
import { ImageError } from './error.ts';
import { pagemapRuns } from './pagemap-runs.ts';
import { kindOf, type MessageKind } from './kinds.ts';

/** Where the files of an image come from: a directory, an archive, memory. */
export interface ImageSource {
  /** Names of all files of the image. */
  readonly names: readonly string[];
  /** Returns the bytes of one of the files. */
  read(name: string): Uint8Array;
  /** Returns the size in bytes of one of the files; without it the file is read. */
  size?(name: string): number;
  /** Reads `length` bytes at `offset` of one of the files; without it there is no looking into pages files. */
  readRange?(name: string, offset: number, length: number): Uint8Array;
}

/** The files of one image, decoded when they are asked for and kept, so that a change to a value is seen by all. */
export class ImageDirectory {
  readonly names: readonly string[];
  readonly #source: ImageSource;
  readonly #limits: Partial<Limits>;
  readonly #files = new Map<string, ImageFile>();

  constructor(source: ImageSource, limits: Partial<Limits> = {}) {
    this.names = source.names;
    this.#source = source;
    this.#limits = limits;
  }

  /**
   * Returns the image as `source` has it now, after all that was changed in the messages was written there: what has been
   * decoded is not decoded again. Pagemaps are, since they are changed by their bytes.
   */
  in(source: ImageSource): ImageDirectory {
    const image = new ImageDirectory(source, this.#limits);
    for (const [name, file] of this.#files)
      if (file.kind !== 'pagemap' && source.names.includes(name)) image.#files.set(name, file);
    return image;
  }

  /** Returns the file of that name, undefined when the image has none. Throws ImageError. */
  find<Kind extends MessageKind>(kind: Kind, name: string): MessageFile<Kind> | undefined {
    if (kindOf(name) !== kind) return undefined;
    const file = this.#load(name);
    return file?.kind === kind ? (file as unknown as MessageFile<Kind>) : undefined; // `kind` decides the type
  }

  /** Returns the file of that name. Throws ImageError when the image has none. */
  require<Kind extends MessageKind>(kind: Kind, name: string): MessageFile<Kind> {
    const file = this.find(kind, name);
    if (file) return file;
    throw new ImageError('ERR_FORKPOINT_IMAGE_MISSING', name, 'the image has no such file');
  }

  /** Returns all files of a kind, in the order of `names`. Throws ImageError. */
  all<Kind extends MessageKind>(kind: Kind): MessageFile<Kind>[] {
    return this.names.filter((name) => kindOf(name) === kind).map((name) => this.require(kind, name));
  }

  /** Returns the messages of a file that an image has at most once; none when it has no such file. */
  entries<Kind extends MessageKind>(kind: Kind, name: string): MessageFile<Kind>['entries'] {
    return this.find(kind, name)?.entries ?? [];
  }

  /** Returns a pagemap, undefined when the image has none of that name. Throws ImageError. */
  pagemap(name: string): PagemapFile | undefined {
    // Pages files are as large as the program's memory: no file of another kind may be read here.
    if (kindOf(name) !== 'pagemap') return undefined;
    const file = this.#load(name);
    return file?.kind === 'pagemap' ? file : undefined;
  }

  /** Returns the head and the joined runs of a pagemap, undefined when the image has none of that name. Throws ImageError. */
  pagemapRuns(name: string): ReturnType<typeof pagemapRuns> | undefined {
    if (kindOf(name) !== 'pagemap' || !this.names.includes(name)) return undefined;
    return pagemapRuns(name, this.#source.read(name), this.#limits);
  }

  /** Returns the size in bytes of a file, undefined when the image has none of that name. */
  size(name: string): number | undefined {
    if (!this.names.includes(name)) return undefined;
    return this.#source.size?.(name) ?? this.#source.read(name).length;
  }

  /** Returns `length` bytes at `offset` of a file; undefined when the image has none of that name, or its source does not tell. */
  readRange(name: string, offset: number, length: number): Uint8Array | undefined {
    return this.names.includes(name) ? this.#source.readRange?.(name, offset, length) : undefined;
  }

  #load(name: string): ImageFile | undefined {
    const known = this.#files.get(name);
    if (known) return known;
    if (!this.names.includes(name)) return undefined;
    const file = decodeImage(name, this.#source.read(name), this.#limits);
    this.#files.set(name, file);
    return file;
  }
}
