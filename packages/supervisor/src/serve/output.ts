import type { Readable } from 'node:stream';

/** Longest line that is kept together. */
const LINE_MAX = 65_536;

/** How the output of workers, and what the server itself has to say, is written. */
export type LogMode = 'plain' | 'prefix' | 'json';

/** Who has written a line. */
export interface Writer {
  /** Number of the worker; null for the program while it is started. */
  readonly worker: number | null;
  readonly generation: number | null;
}

/** Returns a line of a worker's as it is shown, with its end. */
export function lineOf(mode: LogMode, stream: 'stdout' | 'stderr', writer: Writer, line: string): string {
  const { worker, generation } = writer;
  if (mode === 'json')
    return `${JSON.stringify({ time: new Date().toISOString(), level: stream === 'stderr' ? 'error' : 'info', stream, worker, generation, message: line })}\n`;
  const who = worker === null ? 'start' : `w${worker} g${generation ?? '-'}`;
  return `[${who}] ${line}\n`;
}

/** Hands out the lines of a stream, also the last one that has no end; longer ones in pieces. */
export function eachLine(stream: Readable, onLine: (line: string) => void): void {
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (more: string) => {
    text += more;
    for (let end: number; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1))
      onLine(text.slice(0, end));
    if (text.length <= LINE_MAX) return;
    onLine(text);
    text = '';
  });
  stream.once('close', () => {
    if (text !== '') onLine(text);
  });
  // Whoever wrote has gone: its end is told elsewhere.
  stream.on('error', () => stream.destroy());
}
