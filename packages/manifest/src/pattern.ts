import { ManifestError } from './error.ts';

/** What the letters of a path pattern stand for. */
export interface PatternValues {
  /** `%p` pid of the program's first process. */
  readonly pid: number;
  /** `%g` generation that the image will have, plus one: 1 at the first checkpoint, one more after each restore. */
  readonly generation: number;
  /** `%t` and `%T` wall clock of the checkpoint, milliseconds since 1970. */
  readonly timeMs: number;
  /** `%u` a random UUID. */
  readonly uuid: string;
  /** `%a` machine name as in uname(2). */
  readonly arch: string;
  /** `%f` processor features as hex. */
  readonly cpuFeatures: string;
  /** `%c` number of processors. */
  readonly cpuCount: number;
  /** `%m` largest heap in bytes; 0 when unknown. */
  readonly maxHeapBytes: number;
}

/** Longest path in bytes without the final NUL: PATH_MAX - 1 (include/uapi/linux/limits.h). */
const MAX_PATH_BYTES = 4095;
const MAX_WIDTH = 255;
const PLAIN = '%autf';

/** Returns whether the text holds a path pattern or an escaped percent sign. */
export function hasPattern(text: string): boolean {
  return text.includes('%');
}

/** Throws ERR_FORKPOINT_PATTERN when the text could not be expanded, whatever the values are. */
export function checkPattern(text: string): void {
  replacePatterns(text, () => 'x');
}

/**
 * Returns the text with every `%letter` replaced. The numbers `%p %g %c %m %T` take a width: `%5g` pads with spaces, `%05g` with zeros.
 * Throws ERR_FORKPOINT_PATTERN for an unknown letter, a zero without a width, a width where none belongs, and a result over 4,095 bytes.
 */
export function expandPattern(text: string, values: PatternValues): string {
  const result = replacePatterns(text, (letter, hasWidth) => valueOf(letter, hasWidth, values));
  const bytes = Buffer.byteLength(result);
  if (bytes > MAX_PATH_BYTES)
    throw wrong(text, `it expands to ${bytes} bytes, and a path has at most ${MAX_PATH_BYTES}`);
  return result;
}

function replacePatterns(text: string, value: (letter: string, hasWidth: boolean) => string): string {
  return text.replaceAll(/%(0?)([0-9]*)(.?)/gsu, (whole, zero: string, width: string, letter: string) => {
    if (letter === '') throw wrong(text, `"${whole}" at the end lacks a letter; write %% for a percent sign`);
    const isPlain = PLAIN.includes(letter);
    if (!isPlain && !'pgcmT'.includes(letter)) throw wrong(text, `"${whole}" is not known`);
    if (zero !== '' && width === '') throw wrong(text, `"${whole}" has a zero without a width`);
    if (isPlain && width !== '') throw wrong(text, `"%${letter}" takes no width`);
    if (Number(width) > MAX_WIDTH) throw wrong(text, `"${whole}" is wider than ${MAX_WIDTH}`);
    return value(letter, width !== '').padStart(Number(width), zero === '' ? ' ' : '0');
  });
}

function valueOf(letter: string, hasWidth: boolean, values: PatternValues): string {
  switch (letter) {
    case '%':
      return '%';
    case 'a':
      return values.arch;
    case 'u':
      return values.uuid;
    case 'f':
      return values.cpuFeatures;
    case 't':
      // The basic form of ISO 8601 has no characters that are awkward in a path.
      return new Date(values.timeMs).toISOString().replaceAll(/[-:]|\.\d+/g, '');
    case 'T':
      return String(Math.floor(values.timeMs / 1000));
    case 'p':
      return String(values.pid);
    case 'g':
      return String(values.generation);
    case 'c':
      return String(values.cpuCount);
    default:
      return hasWidth ? String(values.maxHeapBytes) : withUnit(values.maxHeapBytes);
  }
}

function withUnit(bytes: number): string {
  const units = [
    [1024 ** 3, 'G'],
    [1024 ** 2, 'M'],
    [1024, 'k'],
  ] as const;
  for (const [size, unit] of units) if (bytes > 0 && bytes % size === 0) return `${bytes / size}${unit}`;
  return String(bytes);
}

function wrong(text: string, problem: string): ManifestError {
  return new ManifestError(
    'ERR_FORKPOINT_PATTERN',
    `the destination ${JSON.stringify(text.slice(0, 200))} is not usable: ${problem}`,
    {
      hint: 'The patterns are %p pid, %g generation, %t and %T time, %u random, %a machine, %f processor features, %c processors, %m heap, %%',
    },
  );
}
