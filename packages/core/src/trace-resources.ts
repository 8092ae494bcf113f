/** A handle, and where it was made. */
interface Asset {
  readonly handle: WeakRef<object>;
  readonly stack: string;
}

/** Handles of Node.js that own a descriptor (the providers of async_wrap.h). */
const PROVIDERS = new Set([
  'TCPWRAP',
  'TCPSERVERWRAP',
  'PIPEWRAP',
  'PIPESERVERWRAP',
  'UDPWRAP',
  'TTYWRAP',
  'FILEHANDLE',
]);
/** Beyond this many handles the oldest are forgotten. */
const TRACKED_MAX = 10_000;
const FRAMES = 30;
/** How long after an opening the file is written, in milliseconds: openings come in bursts. */
const DELAY_MS = 20;
/** How often it is written again, in milliseconds: a clone has a control directory of its own. */
const REPEAT_MS = 500;

const { setTimeout: later, setInterval: repeat } = globalThis;

/**
 * Remembers for every descriptor that this thread opens through node:fs, node:net, node:dgram and what builds on them the
 * stack that opened it, and keeps `members/<pid>/resources.json`, an object of stacks by descriptor, up to date. For
 * `forkpoint run --trace-resources`: it costs a stack trace per opening.
 */
export function traceResources(directory: string): void {
  const fs = process.getBuiltinModule('node:fs');
  const { createHook } = process.getBuiltinModule('node:async_hooks');
  const { openSync, closeSync } = fs;
  const handles: Asset[] = [];
  const files = new Map<number, string>();
  const member = `${directory}/members/${process.pid}`;
  const path = `${member}/resources.json`;
  let isDue = false;

  const write = (): void => {
    isDue = false;
    const stacks: Record<string, string> = Object.fromEntries(files);
    for (const { handle, stack } of handles) {
      const fd: unknown = Reflect.get(handle.deref() ?? {}, 'fd');
      if (typeof fd === 'number' && fd >= 0) stacks[fd] = stack;
    }
    try {
      const draft = openSync(`${path}.new`, 'w', 0o600);
      fs.writeSync(draft, JSON.stringify(stacks));
      closeSync(draft);
      fs.renameSync(`${path}.new`, path);
    } catch {
      // The run is about to end, or the pod is not there yet; a report without stacks is still a report.
    }
  };
  const schedule = (): void => {
    if (isDue) return;
    isDue = true;
    later(write, DELAY_MS).unref();
  };
  createHook({
    init(_id, type, _trigger, resource: object) {
      if (!PROVIDERS.has(type)) return;
      handles.push({ handle: new WeakRef(resource), stack: stackNow() });
      if (handles.length > TRACKED_MAX) handles.shift();
      schedule();
    },
  }).enable();
  wrapFiles(fs, files, schedule);
  process.getBuiltinModule('node:module').syncBuiltinESMExports();
  repeat(() => {
    if (!fs.existsSync(path)) schedule();
  }, REPEAT_MS).unref();
}

/** Notes the stacks of fs.open and fs.openSync by descriptor; reading streams and writing streams use them too. */
function wrapFiles(fs: typeof import('node:fs'), files: Map<number, string>, schedule: () => void): void {
  const { openSync, open, closeSync, close } = fs;
  const opened = (fd: number, stack: string): void => {
    files.set(fd, stack);
    schedule();
  };
  fs.openSync = (...args: Parameters<typeof openSync>) => {
    const fd = openSync(...args);
    opened(fd, stackNow());
    return fd;
  };
  fs.open = Object.assign((...args: unknown[]) => {
    const stack = stackNow();
    const callback = args.at(-1);
    if (typeof callback === 'function') {
      args[args.length - 1] = (error: unknown, fd: number) => {
        if (!error) opened(fd, stack);
        Reflect.apply(callback, undefined, [error, fd]);
      };
    }
    Reflect.apply(open, fs, args);
  }, open);
  fs.closeSync = (fd: number) => {
    files.delete(fd);
    closeSync(fd);
  };
  fs.close = Object.assign((...args: unknown[]) => {
    files.delete(Number(args[0]));
    Reflect.apply(close, fs, args);
  }, close);
}

/** Returns the present stack without the frames of Node.js and of this file. */
function stackNow(): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = FRAMES;
  const stack = new Error('opened').stack ?? '';
  Error.stackTraceLimit = limit;
  return stack
    .split('\n')
    .slice(1)
    .filter((line) => !/[( ]node:|[\\/]preload\.cjs|trace-resources/.test(line))
    .map((line) => line.trim())
    .join('\n');
}
