/** A flag of a runtime that forkpoint adds, or that it looks for, and why. */
export interface FlagReason {
  readonly flag: string;
  readonly why: string;
}

/** What is added to every JVM, unless the user decides otherwise. */
export const JVM_FLAGS = {
  perfData:
    'no /tmp/hsperfdata file, which a clone would need at the same path (jps and jstat do not see the program)',
  ignore: "CRaC's own options, which a stock JDK refuses, are skipped",
  agent: "forkpoint's Java client: hooks, requests from outside, new randomness in clones",
  compat: 'org.crac is served by forkpoint',
  jffi: 'the native part of jffi is kept in one place and not unpacked and deleted at every start',
} as const;

const KNOWN: readonly (readonly [RegExp, string])[] = [
  [/^-XX:-UsePerfData$/, JVM_FLAGS.perfData],
  [/^-XX:\+IgnoreUnrecognizedVMOptions$/, JVM_FLAGS.ignore],
  [/^-javaagent:.*forkpoint[^/]*\.jar$/, JVM_FLAGS.agent],
  [/^-Dorg\.crac\.Core\.Compat=dev\.forkpoint\.crac$/, JVM_FLAGS.compat],
  [/^-Djffi\.extract\.(dir|name)=/, JVM_FLAGS.jffi],
  [/^--require=?.*preload\.cjs/, "forkpoint's library, through NODE_OPTIONS"],
];

/** Variables that are set or added to for a program, and why. */
const VARIABLES: readonly (readonly [string, string])[] = [
  ['LD_PRELOAD', "forkpoint's shim: no io_uring, honest madvise and mremap, deleted libraries keep a name"],
  ['NODE_OPTIONS', "forkpoint's library in every Node.js process"],
  ['PYTHONPATH', '`import forkpoint` finds the client that belongs to this forkpoint'],
  ['RUBYLIB', "`require 'forkpoint'` finds the client that belongs to this forkpoint"],
  ['JAVA_OPTS', 'flags for the JVM that JRuby starts'],
];

/** Returns, for every flag in the given commands that forkpoint adds, why it is there; each flag once. */
export function explainFlags(commands: readonly (readonly string[])[]): FlagReason[] {
  const found = new Map<string, string>();
  for (const flag of commands.flat()) {
    const known = KNOWN.find(([pattern]) => pattern.test(flag));
    if (known !== undefined) found.set(flag, known[1]);
  }
  return [...found].map(([flag, why]) => ({ flag, why }));
}

/** Returns what forkpoint may have put into variables with these names. */
export function explainVariables(names: readonly string[]): FlagReason[] {
  const present = new Set(names);
  return VARIABLES.filter(([name]) => present.has(name)).map(([flag, why]) => ({ flag, why }));
}
