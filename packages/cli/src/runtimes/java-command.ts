/** A `java` command line, taken apart. */
export interface JavaCommand {
  /** Everything before the main class, `-jar` or module; without CRaC's own options. */
  readonly options: readonly string[];
  /** `Main`, `-jar app.jar` or `-m module/class`; empty when there is none. */
  readonly main: readonly string[];
  readonly args: readonly string[];
  readonly crac: CracOptions;
}

/** CRaC's options that forkpoint understands. */
export interface CracOptions {
  readonly checkpointTo?: string;
  readonly restoreFrom?: string;
  /** Whether to boot when the image cannot be restored. */
  readonly ignoreRestore: boolean;
}

/** Options of the JDK's launcher whose value is a word of its own (`java --help`). */
const WITH_VALUE = new Set([
  '-cp',
  '-classpath',
  '--class-path',
  '-p',
  '--module-path',
  '--upgrade-module-path',
  '--add-modules',
  '--limit-modules',
  '--add-exports',
  '--add-opens',
  '--add-reads',
  '--patch-module',
  '--enable-native-access',
  '--source',
]);

/** Takes the words behind `java` apart. */
export function parseJavaCommand(words: readonly string[]): JavaCommand {
  const options: string[] = [];
  const crac: string[] = [];
  let at = 0;
  for (; at < words.length; at++) {
    const word = words[at] ?? '';
    if (!word.startsWith('-') && !word.startsWith('@')) break;
    if (word === '-jar' || word === '-m' || word === '--module') break;
    if (/^-XX:[+-]?CRaC/.test(word)) crac.push(word);
    else options.push(word);
    if (WITH_VALUE.has(word)) options.push(words[++at] ?? '');
  }
  const length = words[at]?.startsWith('-') === true ? 2 : 1;
  return {
    options,
    main: words.slice(at, at + length),
    args: words.slice(at + length),
    crac: cracOptions(crac),
  };
}

/** Reads CRaC's options; the last one of a kind counts, as in the JVM. */
export function cracOptions(words: readonly string[]): CracOptions {
  const value = (key: string): string | undefined =>
    words
      .filter((word) => word.startsWith(`-XX:${key}=`))
      .at(-1)
      ?.slice(key.length + 5);
  const checkpointTo = value('CRaCCheckpointTo');
  const restoreFrom = value('CRaCRestoreFrom');
  return {
    ...(checkpointTo === undefined || checkpointTo === '' ? {} : { checkpointTo }),
    ...(restoreFrom === undefined || restoreFrom === '' ? {} : { restoreFrom }),
    ignoreRestore: words.includes('-XX:+CRaCIgnoreRestoreIfUnavailable'),
  };
}
