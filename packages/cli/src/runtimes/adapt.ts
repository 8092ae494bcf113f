import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cracOptions, parseJavaCommand } from './java-command.ts';
import type { CracOptions } from './java-command.ts';
import { recognise } from './recognise.ts';
import type { ProgramFacts, RuntimeKind } from './recognise.ts';

/** A restore that was asked for in CRaC's words. */
export interface RestoreWish {
  readonly image: string;
  /** The class that shall run in the restored JVM. */
  readonly main?: string;
  /** `NAME=VALUE` of new system properties. */
  readonly properties: readonly string[];
  readonly args: readonly string[];
  readonly orRun: boolean;
}

/** What a command becomes so that it can be checkpointed. */
export interface Adaptation {
  readonly kind: RuntimeKind;
  readonly command: readonly string[];
  /** Variables to set; the user's own values are in them. */
  readonly env: Readonly<Record<string, string>>;
  /** What is unsafe, one sentence each. */
  readonly warnings: readonly string[];
  /** Where the program's own options send checkpoints. */
  readonly checkpointTo?: string;
  /** The command is a restore and starts nothing. */
  readonly restore?: RestoreWish;
}

/** Where the clients for other languages lie, and the cache of this data directory. */
export interface Surroundings {
  readonly lib: string;
  readonly cache: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Flags of a JVM that stand in the way of a checkpoint, or make it costly. */
const UNSAFE_JVM: readonly (readonly [RegExp, string])[] = [
  [
    /^-(agentlib:jdwp|Xrunjdwp)/,
    'a debugger’s connection (jdwp) is closed in every clone, and an open one to a unix socket forbids a checkpoint',
  ],
  [
    /^-XX:StartFlightRecording/,
    'all clones write to the same flight recording: stop it before the checkpoint (`jcmd PID JFR.stop`)',
  ],
  [
    /^-XX:\+UseLargePages$/,
    'pages of hugetlbfs cannot be shared by clones, and each needs as many free ones',
  ],
  [
    /^-XX:AllocateHeapAt=/,
    'the heap is in a file without a name (-XX:AllocateHeapAt), of which no checkpoint can be taken',
  ],
  [/^-XX:\+UsePerfData$/, 'every clone needs the file in /tmp/hsperfdata_* that the JVM has mapped'],
  [
    /^-Xshare:dump$|^-XX:ArchiveClassesAtExit/,
    'a JVM that writes a class archive at its end writes one in every clone',
  ],
];

/** Returns the Java client's archive, when it has been built. */
export function javaClient(lib: string): string | undefined {
  const jar = join(lib, 'clients', 'forkpoint.jar');
  return existsSync(jar) ? jar : undefined;
}

/** Returns what is added to a command so that its runtime can be checkpointed. `file` is the program that will run. */
export function adapt(command: readonly string[], file: string, at: Surroundings): Adaptation {
  const facts = recognise(command[0] ?? '', file);
  const base = {
    kind: facts.kind,
    command,
    env: clientPaths(facts.kind, at),
    warnings: warningsOf(facts, file),
  };
  if (facts.kind === 'java') return adaptJava(base, at);
  if (facts.kind === 'jruby') return adaptJruby(base, file, at);
  return base;
}

function warningsOf({ isStatic, isSetuid }: ProgramFacts, file: string): string[] {
  if (isStatic) {
    return [
      `${file} is linked statically: forkpoint cannot keep it from io_uring, and its allocator’s memory is not shared by clones`,
    ];
  }
  return isSetuid ? [`${file} changes its user: nothing is preloaded into it`] : [];
}

/** The clients of other languages are found without an installation; an installed one comes later on the path. */
function clientPaths(kind: RuntimeKind, { lib, env }: Surroundings): Record<string, string> {
  const paths = {
    python: ['PYTHONPATH', 'python'],
    ruby: ['RUBYLIB', 'ruby'],
    jruby: ['RUBYLIB', 'ruby'],
  } as const;
  if (kind !== 'python' && kind !== 'ruby' && kind !== 'jruby') return {};
  const [name, directory] = paths[kind];
  const client = join(lib, 'clients', directory);
  const own = (env[name] ?? '').split(':').filter((path) => path !== '' && path !== client);
  return { [name]: [...own, client].join(':') };
}

function jvmFlags(given: readonly string[], { lib }: Surroundings): { flags: string[]; warnings: string[] } {
  const flags: string[] = [];
  if (!given.some((flag) => /^-XX:[+-]UsePerfData$/.test(flag))) flags.push('-XX:-UsePerfData');
  const jar = javaClient(lib);
  const warnings = UNSAFE_JVM.filter(([pattern]) => given.some((flag) => pattern.test(flag))).map(
    ([, why]) => why,
  );
  if (jar === undefined) {
    warnings.push(
      'the Java client has not been built (`npm run build:java`): the JVM takes no part in checkpoints and draws the same random numbers in all clones',
    );
  } else if (!given.some((flag) => flag.startsWith('-javaagent:') && flag.includes('forkpoint'))) {
    flags.push(`-javaagent:${jar}`);
  }
  if (jar !== undefined && !given.some((flag) => flag.startsWith('-Dorg.crac.Core.Compat='))) {
    flags.push('-Dorg.crac.Core.Compat=dev.forkpoint.crac');
  }
  return { flags, warnings };
}

function adaptJava(base: Adaptation, at: Surroundings): Adaptation {
  const [program = 'java', ...words] = base.command;
  const fromEnvironment = ['JDK_JAVA_OPTIONS', 'JAVA_TOOL_OPTIONS'].flatMap((name) => wordsOf(at.env[name]));
  const java = parseJavaCommand(words);
  const { flags, warnings } = jvmFlags([...fromEnvironment, ...java.options], at);
  // What stands in a variable or a file cannot be taken out, so the JVM has to skip it.
  const isHidden =
    fromEnvironment.some((flag) => flag.includes('CRaC')) || words.some((word) => word.startsWith('@'));
  if (isHidden) flags.push('-XX:+IgnoreUnrecognizedVMOptions');
  const crac = { ...cracOptions(fromEnvironment), ...java.crac };
  const restore = restoreOf(crac, {
    main: java.main.at(-1),
    isClass: java.main.length === 1,
    options: java.options,
    args: java.args,
  });
  return {
    ...base,
    command: [program, ...flags, ...java.options, ...java.main, ...java.args],
    warnings: [...base.warnings, ...warnings],
    ...(crac.checkpointTo === undefined ? {} : { checkpointTo: crac.checkpointTo }),
    ...(restore === undefined ? {} : { restore }),
  };
}

/** JRuby's own script starts the JVM: flags go into JAVA_OPTS. Its --checkpoint and --restore are CRaC's options. */
function adaptJruby(base: Adaptation, file: string, at: Surroundings): Adaptation {
  const [, ...words] = base.command;
  const own = wordsOf(at.env['JAVA_OPTS']);
  const given = [...own, ...words.filter((word) => word.startsWith('-J')).map((word) => word.slice(2))];
  const { flags, warnings } = jvmFlags(given, at);
  const end = words.findIndex((word) => !word.startsWith('-') || word === '-e' || word === '--');
  const before = end === -1 ? words : words.slice(0, end);
  const place = (key: string): string | undefined => {
    const word = before.find((one) => one === `--${key}` || one.startsWith(`--${key}=`));
    if (word === undefined) return undefined;
    return word.includes('=') ? word.slice(key.length + 3) : './.jruby.checkpoint';
  };
  const checkpointTo = place('checkpoint');
  const restoreFrom = place('restore');
  const rest = words.filter((word) => !(before.includes(word) && /^--restore(=|$)|^-J/.test(word)));
  return {
    ...base,
    env: {
      ...base.env,
      JAVA_OPTS: [...own, ...flags, '-XX:+IgnoreUnrecognizedVMOptions', ...jffiFlags(file, at.cache)].join(
        ' ',
      ),
    },
    warnings: [...base.warnings, ...warnings],
    ...(checkpointTo === undefined ? {} : { checkpointTo }),
    ...(restoreFrom === undefined
      ? {}
      : {
          restore: {
            image: pathOf(restoreFrom),
            main: 'org.jruby.Main',
            properties: [],
            args: rest,
            orRun: false,
          },
        }),
  };
}

/**
 * jffi refuses a native part in its place that is not its own: each JRuby has a directory. One that is not installed in the usual
 * way unpacks as ever, and the shim keeps what it deletes.
 */
function jffiFlags(file: string, cache: string): string[] {
  const jar = statSync(join(dirname(dirname(realpathSync(file))), 'lib/jruby.jar'), {
    throwIfNoEntry: false,
  });
  if (jar === undefined) return [];
  const directory = join(cache, 'jffi', digest(`${file} ${jar.size} ${jar.mtimeMs}`));
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return [`-Djffi.extract.dir=${directory}`, '-Djffi.extract.name=libjffi.so'];
}

function restoreOf(
  crac: CracOptions,
  given: { main: string | undefined; isClass: boolean; options: readonly string[]; args: readonly string[] },
): RestoreWish | undefined {
  if (crac.restoreFrom === undefined) return undefined;
  return {
    image: pathOf(crac.restoreFrom),
    // -jar cannot name a class; the JVM of the image goes on where it was.
    ...(given.isClass && given.main !== undefined ? { main: given.main } : {}),
    properties: given.options.filter((flag) => /^-D[^=]/.test(flag)).map((flag) => flag.slice(2)),
    args: given.args,
    orRun: crac.ignoreRestore,
  };
}

/** CRaC takes every name for a path. */
function pathOf(place: string): string {
  return place.includes('/') || place.startsWith('.') ? place : `./${place}`;
}

function wordsOf(value: string | undefined): string[] {
  return (value ?? '').split(/\s+/).filter((word) => word !== '');
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}
