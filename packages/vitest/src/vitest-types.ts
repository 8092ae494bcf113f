// What is used of Vitest 5, in the form in which its own types fit (vitest/node). Vitest is no dependency: whoever uses the pool has it.

/** `PoolOptions` of vitest/node. */
export interface WorkerOptions {
  readonly distPath: string;
  readonly method: 'run' | 'collect';
  readonly environment: { readonly name: string };
  readonly execArgv: string[];
  readonly env: Partial<NodeJS.ProcessEnv>;
  readonly project: {
    readonly name: string;
    readonly config: { readonly root: string };
    readonly vitest: {
      readonly version: string;
      readonly logger: {
        readonly outputStream: NodeJS.WritableStream;
        readonly errorStream: NodeJS.WritableStream;
      };
      onTestsRerun(listener: () => void): void;
      onClose(listener: () => Promise<void> | void): void;
    };
  };
}

/** `PoolWorker` of vitest/node. */
export interface Worker {
  readonly name: string;
  readonly reportMemory?: boolean;
  readonly cacheFs?: boolean;
  on(event: string, listener: (...args: never[]) => void): void;
  off(event: string, listener: (...args: never[]) => void): void;
  send(message: object): void;
  deserialize(data: unknown): unknown;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** `PoolRunnerInitializer` of vitest/node. */
export interface PoolRunner {
  readonly name: string;
  createPoolWorker(options: WorkerOptions): Worker;
}

/** The message by which a worker is started. */
export interface StartMessage {
  readonly type: 'start';
  readonly context: {
    readonly environment: { readonly name: string; readonly options?: unknown };
    readonly config: {
      readonly root: string;
      readonly globals?: boolean;
      readonly env?: unknown;
      readonly environmentOptions?: unknown;
      readonly chaiConfig?: unknown;
      readonly experimental?: unknown;
      readonly disableColors?: unknown;
      readonly defines?: unknown;
      readonly disableConsoleIntercept?: unknown;
      readonly inspector?: { readonly enabled?: boolean };
    };
  };
  readonly traces?: { readonly enabled?: boolean };
}

/** Returns a message as the one that starts a worker. */
export function asStart(message: object): StartMessage | undefined {
  return '__vitest_worker_request__' in message && 'type' in message && message.type === 'start'
    ? (message as object as StartMessage)
    : undefined;
}

/** Returns the file of a test that a worker is asked to run. */
export function fileOf(message: object): string | undefined {
  if (!('type' in message) || message.type !== 'run' || !('context' in message)) return undefined;
  const { files } = message.context as { files?: readonly { readonly filepath?: string }[] };
  return files?.[0]?.filepath;
}
