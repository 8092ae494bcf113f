import { count, withLimit } from './library.ts';
import { isClass, observed } from './rebuild.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy } from './types.ts';

/** What is used of a SonicBoom (sonic-boom 2 to 4). */
interface SonicBoom {
  readonly fd: number;
  readonly file?: string | null;
  readonly destroyed: boolean;
  readonly _writing: boolean;
  readonly _len: number;
  flushSync(): void;
}

/** What is used of a ThreadStream (thread-stream 2 to 4), pino's way to a worker thread. */
interface ThreadStream {
  readonly destroyed: boolean;
  readonly closed?: boolean;
  flush(done: () => void): void;
}

/**
 * pino. Lines that wait in memory are written before a checkpoint; otherwise the original and every clone would write them. Files
 * need nothing more: they go on at their end.
 */
export function pinoAdapter(): Adapter {
  const files = new Tracked<SonicBoom>();
  const threads = new Tracked<ThreadStream>();
  const liveFiles = (): SonicBoom[] => files.all().filter(({ destroyed, fd }) => !destroyed && fd >= 0);
  const liveThreads = (): ThreadStream[] =>
    threads.all().filter(({ destroyed, closed }) => !destroyed && closed !== true);
  return {
    name: 'pino',
    tracker: {
      name: 'pino',
      isIdle: () => liveFiles().length === 0 && liveThreads().length === 0,
      hold: (): void => undefined,
      release: (): void => undefined,
      busy: (): Busy[] =>
        liveFiles()
          .filter(({ _writing: isWriting }) => isWriting)
          .map(({ file, fd }) => ({ what: `the log ${file ?? `at descriptor ${fd}`}`, work: 'a write' })),
      close: async (limitMs) => {
        await Promise.all(
          liveThreads().map(async (thread) => {
            await withLimit(limitMs, (done) => thread.flush(done));
          }),
        );
        for (const file of liveFiles()) if (file._len > 0 && !file._writing) file.flushSync();
      },
      wake: (): void => undefined,
    },
    files: {
      'sonic-boom/index.js': (exports) =>
        isClass(exports) ? observed(exports, (made) => files.add(made as SonicBoom)) : exports,
      'thread-stream/index.js': (exports) =>
        isClass(exports) ? observed(exports, (made) => threads.add(made as ThreadStream)) : exports,
    },
  };
}

/** What is used of a File transport (lib/winston/transports/file.js of winston 3). */
interface FileTransport {
  readonly dirname?: string;
  readonly filename?: string;
  readonly destroyed: boolean;
  readonly _opening?: boolean;
  readonly _stream?: { readonly readableLength: number; readonly writableLength: number };
  readonly _dest?: { readonly writableLength: number } | null;
}

/** winston's files. Lines on their way are waited for. */
export function winstonAdapter(): Adapter {
  const transports = new Tracked<FileTransport>();
  const live = (): FileTransport[] => transports.all().filter(({ destroyed }) => !destroyed);
  return {
    name: 'winston',
    tracker: {
      name: 'winston',
      isIdle: () => live().length === 0,
      hold: (): void => undefined,
      release: (): void => undefined,
      busy: (): Busy[] =>
        live().flatMap((transport) => {
          const { _stream: stream, _dest: file, _opening: isOpening } = transport;
          const bytes =
            (stream?.readableLength ?? 0) + (stream?.writableLength ?? 0) + (file?.writableLength ?? 0);
          if (bytes === 0 && isOpening !== true) return [];
          const what = `the log ${transport.dirname ?? ''}/${transport.filename ?? ''}`;
          return [{ what, work: bytes === 0 ? 'opening' : count(bytes, 'byte', 'bytes') }];
        }),
      close: (): void => undefined,
      wake: (): void => undefined,
    },
    files: {
      'winston/lib/winston/transports/file.js': (exports) =>
        isClass(exports) ? observed(exports, (made) => transports.add(made as FileTransport)) : exports,
    },
  };
}
