import type { ClockTime } from './restore-plan.ts';
import type { Slot } from './slot.ts';

/** The newest manifest format that this version reads and the one it writes. */
export const FORMAT_VERSION = 2;
/** The oldest manifest format that this version reads. */
export const OLDEST_FORMAT_VERSION = 1;

/** A process of an image, with pids of the pod. */
export interface ManifestProcess {
  readonly pid: number;
  /** 1 for the program's first process and for those whose parent has ended. */
  readonly parentPid: number;
  /** Thread ids, the process's own included. */
  readonly threads: readonly number[];
  /** Argument vector; empty for a zombie. */
  readonly command: readonly string[];
}

/** A slot and the descriptors that show it. */
export type ManifestSlot = Slot & { readonly fds: readonly { readonly pid: number; readonly fd: number }[] };

/** A file that the program has mapped or open and that a restore needs. */
export interface ManifestFile {
  readonly path: string;
  /** Bytes; null when only existence counts. */
  readonly size: number | null;
  /** Nanoseconds since 1970 as decimal text; null when only the size counts. */
  readonly mtimeNs: string | null;
  /** ELF build id as lower-case hex. */
  readonly buildId: string | null;
  readonly sha256: string | null;
}

/** A page file of the image. */
export interface ManifestLayer {
  /** File name within the image directory. */
  readonly file: string;
  readonly size: number;
  readonly pages: number;
  /** How it is stored: as it is, or as `file` with `.zst` behind it. */
  readonly compression: 'zstd' | null;
  /** Bytes of the file that is stored. */
  readonly storedSize: number;
  /** Of its content, not of the packed file; null when it was not computed yet (docs/image-format.md, digests.json). */
  readonly sha256: string | null;
}

/** The description of an image, `manifest.json`. */
export interface Manifest {
  /** 1 has neither compression nor `storedSize`. */
  readonly formatVersion: 1 | 2;
  /** Image id, 12 hex digits. */
  readonly id: string;
  readonly parentId: string | null;
  /** Number of restores behind the image. */
  readonly generation: number;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  readonly command: readonly string[];
  readonly cwd: string;
  /** The language runtime, when one was recognised. */
  readonly runtime: { readonly name: string; readonly version: string | null; readonly path: string } | null;
  readonly host: {
    /** Machine name as in uname(2). */
    readonly arch: string;
    /** What `launcher cpu` printed, hex words. */
    readonly cpu: readonly string[];
    readonly kernel: string;
    readonly glibc: string | null;
  };
  readonly engine: { readonly criu: string; readonly forkpoint: string };
  /** The first one is the root of the program. */
  readonly processes: readonly ManifestProcess[];
  readonly slots: readonly ManifestSlot[];
  readonly clocks: { readonly takenMs: number; readonly monotonic: ClockTime; readonly boottime: ClockTime };
  readonly files: readonly ManifestFile[];
  readonly layers: readonly ManifestLayer[];
  readonly labels: Readonly<Record<string, string>>;
  /** How long the program had run when the image was taken. */
  readonly warmup: { readonly elapsedMs: number } | null;
  /** How warm the program was and what it took, by figure; null in images of versions that did not note it. */
  readonly score: Readonly<Record<string, number>> | null;
  /** Whether a clone replaces its random state. */
  readonly reseed: boolean;
  /** The run that the image was taken from. */
  readonly origin: { readonly run: string; readonly name: string };
  /** Path at which the control directory is bound in the pod. */
  readonly controlDirectory: string;
  /** Pids of the processes that run the forkpoint library. */
  readonly members: readonly number[];
}
