// What programs see of the host library. These types stand by themselves, because they are published as they are: no private
// package shows in them, and the compiler checks that what the store returns fits.

/** Where a call looks. */
export interface HostOptions {
  /** The data directory; `$FORKPOINT_HOME`, else `$XDG_DATA_HOME/forkpoint`, else `~/.local/share/forkpoint` by default. */
  readonly home?: string | undefined;
  /** What relative paths are relative to; the working directory by default. */
  readonly cwd?: string | undefined;
}

/** How work on many bytes is watched and ended. */
export interface WorkOptions extends HostOptions {
  /** Gives up: the call rejects with the signal's reason, and nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
  /** Told of what is done, at most every 100 ms, and at the end of each step. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** How work that changes an image is done. */
export interface ChangeOptions extends WorkOptions {
  /** Whether to wait for the disk; true by default. */
  readonly sync?: boolean | undefined;
}

/** How far work has come. */
export interface Progress {
  readonly step: 'read' | 'compress' | 'decompress' | 'unpack' | 'compare' | 'plan' | 'copy' | 'publish';
  readonly doneBytes: number;
  /** 0 when it is not known. */
  readonly totalBytes: number;
  /** Since the beginning of the step. */
  readonly bytesPerSecond: number;
  /** Null when it is not known. */
  readonly leftMs: number | null;
}

/** An image of a store. */
export interface ListedImage {
  /** Name of the directory. */
  readonly name: string;
  readonly path: string;
  readonly id: string;
  readonly parentId: string | null;
  readonly generation: number;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  readonly command: readonly string[];
  readonly runtime: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** The run that it was taken from. */
  readonly origin: { readonly run: string; readonly name: string };
  readonly compression: string | null;
  readonly formatVersion: number;
  /** Bytes on the disk that go when it is removed. */
  readonly ownBytes: number;
  /** Bytes in files that other images, or running programs, have as well. */
  readonly sharedBytes: number;
  /** Living runs that were restored from it. */
  readonly runs: readonly { readonly id: string; readonly name: string }[];
}

/** What `list` returns. */
export interface ImageList {
  /** Oldest first. */
  readonly images: readonly ListedImage[];
  /** Directories that look like images and cannot be read as such. */
  readonly damaged: readonly { readonly name: string; readonly path: string; readonly reason: string }[];
  /** Of all images, each file once. */
  readonly totalBytes: number;
  /** In page files that no image has any more, only running programs. */
  readonly runningOnlyBytes: number;
}

/** Which images are listed. */
export interface ListOptions extends HostOptions {
  /** A directory of images instead of the store. */
  readonly directory?: string | undefined;
  /** Only images with all of these labels. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** A slot: what the restorer fills with a descriptor of its own. Further fields depend on the kind (docs/image-format.md). */
export interface ImageSlot {
  readonly id: string;
  readonly kind: 'stdin' | 'stdout' | 'stderr' | 'tcp' | 'unix' | 'file';
  readonly fds: readonly { readonly pid: number; readonly fd: number }[];
  readonly address?: string;
  readonly port?: number;
  readonly path?: string;
}

/** `manifest.json` (docs/image-format.md). */
export interface ImageManifest {
  readonly formatVersion: number;
  readonly id: string;
  readonly parentId: string | null;
  readonly generation: number;
  readonly createdAt: string;
  readonly command: readonly string[];
  readonly cwd: string;
  readonly runtime: { readonly name: string; readonly version: string | null; readonly path: string } | null;
  readonly host: {
    readonly arch: string;
    readonly cpu: readonly string[];
    readonly kernel: string;
    readonly glibc: string | null;
  };
  readonly engine: { readonly criu: string; readonly forkpoint: string };
  readonly processes: readonly {
    readonly pid: number;
    readonly parentPid: number;
    readonly threads: readonly number[];
    readonly command: readonly string[];
  }[];
  readonly slots: readonly ImageSlot[];
  readonly files: readonly {
    readonly path: string;
    readonly size: number | null;
    readonly mtimeNs: string | null;
    readonly buildId: string | null;
    readonly sha256: string | null;
  }[];
  readonly layers: readonly {
    readonly file: string;
    readonly size: number;
    readonly pages: number;
    readonly compression: string | null;
    readonly storedSize: number;
    readonly sha256: string | null;
  }[];
  readonly labels: Readonly<Record<string, string>>;
  readonly warmup: { readonly elapsedMs: number } | null;
  readonly score: Readonly<Record<string, number>> | null;
  readonly reseed: boolean;
  readonly origin: { readonly run: string; readonly name: string };
  readonly controlDirectory: string;
  readonly members: readonly number[];
}

/** A descriptor of the program. */
export interface ImageDescriptor {
  readonly pid: number;
  readonly fd: number;
  readonly kind: string;
  readonly what: string;
}

/** What `inspect` returns. */
export interface Inspection {
  readonly path: string;
  readonly manifest: ImageManifest;
  /** Memory areas; addresses are hexadecimal. */
  readonly areas: readonly {
    readonly pid: number;
    readonly start: string;
    readonly end: string;
    readonly kind: string;
    readonly access: string;
    readonly path: string | null;
    /** Whether a restore maps it from a page file instead of reading it. */
    readonly linked: boolean;
    readonly savedBytes: number;
    /** Why it is read and not mapped; null when nothing of it is read. */
    readonly kept: string | null;
  }[];
  /** Areas of one kind, over all processes. */
  readonly groups: readonly { readonly kind: string; readonly count: number; readonly bytes: number }[];
  /** Memory that a restore reads, by reason. */
  readonly kept: readonly {
    readonly reason: string;
    readonly areas: number;
    readonly bytes: number;
    readonly text: string;
  }[];
  readonly descriptors: readonly ImageDescriptor[];
  /** Names of environment variables, never their values. */
  readonly environment: readonly string[];
  /** Bytes of memory that were saved, by pid. */
  readonly savedBytes: ReadonlyMap<number, number>;
}

/** What only one of two images has. */
export interface Changes<T> {
  readonly added: readonly T[];
  readonly removed: readonly T[];
}

/** What `diff` returns. */
export interface Comparison {
  readonly a: { readonly path: string; readonly id: string; readonly generation: number };
  readonly b: { readonly path: string; readonly id: string; readonly generation: number };
  readonly processes: Changes<number>;
  readonly descriptors: Changes<ImageDescriptor>;
  /** Areas that differ, in order of process and address. */
  readonly regions: readonly {
    readonly pid: number;
    readonly start: string;
    readonly end: string;
    readonly kind: string;
    readonly access: string;
    readonly path: string | null;
    readonly state: 'changed' | 'added' | 'removed';
    readonly pages: number;
    readonly changedPages: number;
  }[];
  readonly environment: Changes<string>;
  readonly pages: { readonly compared: number; readonly changed: number };
}

/** How an image is verified. */
export interface VerifyOptions extends WorkOptions {
  /** Replace damaged layers by good copies from other images; false by default. */
  readonly repair?: boolean | undefined;
  /** Compute digests when the image has none; false by default. */
  readonly record?: boolean | undefined;
}

/** What `verify` returns. */
export interface VerifyResult {
  readonly image: string;
  readonly id: string | null;
  /** Whether there were digests to compare with; without them only sizes were compared. */
  readonly hasDigests: boolean;
  readonly problems: readonly {
    readonly kind: 'missing' | 'size' | 'content' | 'unexpected' | 'manifest' | 'plan' | 'digests' | 'mapped';
    /** Name in the image directory, or the path of a mapped file. */
    readonly file: string;
    readonly message: string;
  }[];
  /** Bytes that were read. */
  readonly bytes: number;
  readonly repaired: readonly { readonly file: string; readonly from: string }[];
}

/** What `compress` and `decompress` return. */
export interface CompressResult {
  readonly image: string;
  readonly manifest: ImageManifest;
  /** False when it was so already. */
  readonly isChanged: boolean;
  readonly rawBytes: number;
  readonly storedBytes: number;
}

/** How an image is flattened. */
export interface FlattenOptions extends ChangeOptions {
  /** Where the flat image goes: a path or a name; in the place of the old one by default. */
  readonly to?: string | undefined;
}

/** What `flatten` returns. */
export interface FlattenResult {
  readonly image: string;
  readonly manifest: ImageManifest;
  /** What a restore maps and copies, before and after. */
  readonly before: { readonly mappings: number; readonly copiedPages: number };
  readonly after: { readonly mappings: number; readonly copiedPages: number };
  /** Bytes that were written. */
  readonly bytes: number;
}

/** An image that was opened: its methods are the functions of the same name. */
export interface Image {
  readonly path: string;
  readonly id: string;
  /** As it was when the image was opened, or after the last method that changed it. */
  readonly manifest: ImageManifest;
  inspect(options?: WorkOptions): Promise<Inspection>;
  /** Compares it with another one, which counts as the newer. */
  diff(other: string | Image, options?: WorkOptions): Promise<Comparison>;
  verify(options?: VerifyOptions): Promise<VerifyResult>;
  compress(options?: ChangeOptions): Promise<CompressResult>;
  decompress(options?: ChangeOptions): Promise<CompressResult>;
  flatten(options?: FlattenOptions): Promise<FlattenResult>;
}

/** What the calls reject with, an abort apart. */
export interface HostError extends Error {
  /** `ERR_FORKPOINT_...`, or the errno name of a system error. */
  readonly code: string;
  /** What to do next. */
  readonly hint?: string | undefined;
}
