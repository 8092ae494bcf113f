/** A page of `forkpoint help TOPIC`. */
export interface Topic {
  readonly name: string;
  readonly summary: string;
  /** Lines of at most 100 characters. */
  readonly text: string;
}

const IMAGES = `An image is a directory that holds one checkpoint. It is read only by those who restore it: restores never change it,
so any number of them may run at once, and it may be copied or moved.

  forkpoint checkpoint server              to an image called like the run
  forkpoint checkpoint server ./warm       to the directory ./warm (a path has a / or starts with .)
  forkpoint checkpoint server warm-%g      patterns: %g generation, %t time, %p pid, %u random, %a machine,
                                           %f processor features, %c processors, %m memory, %%
  forkpoint inspect ./warm                 what is in it

A checkpoint onto an existing image replaces it as a whole at the end; a directory that holds something else is refused.
An image needs the files that the program had open or mapped, at their paths and unchanged, a processor with the same
features, and the same data directory (FORKPOINT_HOME). Its files hold the program's memory, secrets included.`;

const SLOTS = `A slot is a named place in an image that the restore fills with something of its own: the standard streams and
the listening sockets. \`forkpoint inspect IMAGE\` lists them.

  forkpoint restore ./warm --listen 3000=3001            another port
  forkpoint restore ./warm --listen 3000=127.0.0.1:0     a port that the kernel chooses; --json prints it
  forkpoint restore ./warm --listen 3000=unix:/run/s     a unix socket in place of a port
  forkpoint restore ./warm < in > out                    files, pipes and terminals in place of the streams

The word before = is the id of the slot, or the port that it had.`;

const HOOKS = `A program need not know forkpoint. One that wants to let go of something before an image is taken registers hooks:

  import { Core } from 'forkpoint';
  const pool = { async beforeCheckpoint() { await close(); }, async afterRestore(context) { await open(context.env); } };
  Core.getGlobalContext().register(pool);   // resources are held weakly: keep a reference

Before hooks run newest first, after hooks oldest first, and all run even when one throws. A before hook that throws means
that no image is made and the program goes on. After hooks run in the original as well. The context tells the id of the run,
the image, its generation, the arguments and the environment that the restore was given.

A program checkpoints itself with \`await checkpoint('./warm')\`, or \`await Core.checkpointRestore('./warm')\`, which ends it.
When --env changed variables, \`process\` emits 'forkpoint:config-changed' with their names, before the after hooks.`;

const RESTORE = `A restore starts the program of an image in a new pod with the same pids, and it goes on where it was.

  forkpoint restore ./warm                     in the foreground: signals, terminal and exit code are passed through
  forkpoint restore ./warm -d --name blue      in the background; prints the id
  forkpoint restore ./warm --env COLOR=blue --cwd /srv -- --tenant 7
  forkpoint restore ./warm --or-run            start the image's command afresh when the image cannot be restored here

Arguments behind -- do not reach process.argv: the program finds them in Core.args and in the context of its hooks.
The clock goes on from where it was, random numbers are renewed (unless --no-reseed), and connections to
others are closed as if the peer had gone. What a program has read from its environment when it started stays
as it was: it listens to 'forkpoint:config-changed', or a hook reads it again. A port is changed with --listen.`;

const ENVIRONMENT = `Variables that forkpoint reads:

  FORKPOINT_HOME    data directory (default: $XDG_DATA_HOME/forkpoint, else ~/.local/share/forkpoint)
  FORKPOINT_NODE    the Node.js that runs the command line and the workers (default: node on PATH)
  FORKPOINT_DEBUG   1: stack traces of errors, and nothing of a failed restore is removed
  NO_COLOR          no colours

Variables of a program, given to \`forkpoint run\`:

  FORKPOINT_NO_ADDRESS_HINTS  1: V8 chooses the addresses of its heap (docs/fork-safety.md)

Variables that a program finds: FORKPOINT_DIR, the control directory (docs/protocol.md). NODE_OPTIONS and LD_PRELOAD
have additions behind the user's own; \`forkpoint run --no-preload\` leaves them out.

The data directory has to lie on a file system where programs can be executed. \`forkpoint doctor\` looks at everything
that this machine needs.`;

const EXIT_CODES = `  0     done
  1     the request cannot be met: the user or the environment has to change something
  2     the command line cannot be understood
  3     the engine (CRIU) failed
  70    a bug in forkpoint

\`run\` and \`restore\` in the foreground end with the program's exit code, 128+n when it was ended by signal n, and with

  125   forkpoint failed before the program ran
  126   the program cannot be executed
  127   the program was not found`;

const FROM_CRAC = `  -XX:CRaCCheckpointTo=DIR               forkpoint run --to DIR -- CMD, or a destination of \`checkpoint\`
  -XX:CRaCRestoreFrom=DIR                forkpoint restore DIR, or restore --from DIR
  jcmd PID JDK.checkpoint                forkpoint checkpoint RUN
  -XX:+CRaCIgnoreRestoreIfUnavailable    --or-run (the long spelling --ignore-restore-if-unavailable works too)
  jcmd ... labels=k=v                    --label k=v
  keep_running=true                      the default; --stop ends the program
  jdk.crac.Core, Resource, Context       the same names in the library

docs/from-crac.md maps every flag, property and method.`;

/** All topics, in the order in which they are listed. */
export const TOPICS: readonly Topic[] = [
  { name: 'images', summary: 'what an image is, where it lies, patterns in names', text: IMAGES },
  { name: 'slots', summary: 'other addresses and streams for a restored program', text: SLOTS },
  { name: 'hooks', summary: 'code of a program that runs around a checkpoint', text: HOOKS },
  { name: 'restore', summary: 'what a restored program is given and finds', text: RESTORE },
  { name: 'environment', summary: 'variables and places', text: ENVIRONMENT },
  { name: 'exit-codes', summary: 'what the exit codes mean', text: EXIT_CODES },
  { name: 'from-crac', summary: "the words of CRaC and forkpoint's own", text: FROM_CRAC },
];

/** Returns the text of a topic; empty when there is none of that name. */
export function topicText(name: string): string {
  return TOPICS.find((topic) => topic.name === name)?.text ?? '';
}

/** Returns the list of topics as the help of the command line shows it. */
export function topicList(): string {
  const width = Math.max(...TOPICS.map(({ name }) => name.length));
  return `Topics (forkpoint help TOPIC):\n${TOPICS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`).join('\n')}`;
}
