import { spawn } from 'node:child_process';

/** What systemd gives to a service, of its environment. */
export interface ServiceManager {
  /** Where it wants to be notified; null when nobody does. */
  readonly notifySocket: string | null;
  /** How often it wants a sign of life, in milliseconds; null for never. */
  readonly watchdogMs: number | null;
  /** Number of listening sockets, from descriptor 3. */
  readonly sockets: number;
}

const NOTIFY_MS = 5000;
const SOCKETS_MAX = 64;

/** Reads the variables of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3) that are for the process `pid`. */
export function serviceManager(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): ServiceManager {
  const isFor = (name: string): boolean => env[name] === undefined || env[name] === String(pid);
  const microseconds = Number(env['WATCHDOG_USEC']);
  const sockets = env['LISTEN_PID'] === String(pid) ? Number(env['LISTEN_FDS']) : 0;
  return {
    notifySocket: env['NOTIFY_SOCKET'] ?? null,
    watchdogMs: microseconds > 0 && isFor('WATCHDOG_PID') ? microseconds / 1000 : null,
    sockets: Number.isInteger(sockets) && sockets > 0 ? Math.min(sockets, SOCKETS_MAX) : 0,
  };
}

/** The variables that are not for the program. */
export const SERVICE_VARIABLES = [
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_FDNAMES',
] as const;

/** Tells the service manager how the server is, one message after another. */
export class Notifier {
  readonly #launcher: string;
  readonly #manager: ServiceManager;
  readonly #warn: (text: string) => void;
  #last: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  /** Said once: signs of life go on and on. */
  #hasFailed = false;

  constructor(launcher: string, manager: ServiceManager, warn: (text: string) => void) {
    this.#launcher = launcher;
    this.#manager = manager;
    this.#warn = warn;
  }

  /** Sends assignments such as `READY=1`; resolves when they are sent, or could not be. */
  async tell(...assignments: readonly string[]): Promise<void> {
    const { notifySocket, watchdogMs } = this.#manager;
    if (notifySocket === null) return;
    if (watchdogMs !== null && this.#timer === undefined) {
      // Twice in the time, as sd_watchdog_enabled(3) recommends.
      this.#timer = setInterval(() => void this.#send('WATCHDOG=1'), watchdogMs / 2);
      this.#timer.unref();
    }
    await this.#send(assignments.join('\n'));
  }

  /** Ends the signs of life. */
  end(): void {
    clearInterval(this.#timer);
  }

  async #send(text: string): Promise<void> {
    this.#last = this.#last.then(
      async () =>
        await new Promise((resolve) => {
          const env = { NOTIFY_SOCKET: this.#manager.notifySocket ?? '' };
          const stdio = ['ignore', 'ignore', 'pipe'] as const;
          const child = spawn(this.#launcher, ['notify', text], {
            env,
            stdio: [...stdio],
            timeout: NOTIFY_MS,
          });
          let why = '';
          child.stderr?.setEncoding('utf8').on('data', (more: string) => (why += more));
          child.once('error', (error) => (why = error.message));
          child.once('close', (code) => {
            if (code !== 0 && !this.#hasFailed)
              this.#warn(`the service manager could not be notified: ${why.trim()}`);
            this.#hasFailed ||= code !== 0;
            resolve();
          });
        }),
    );
    await this.#last;
  }
}
