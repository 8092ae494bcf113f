// forkpoint inside podman's containers, each with other rights: npm run containers. Needs the Debian packages podman and crun.
// A container's root is this machine's, under an overlay that is thrown away. Prints one line for each; ends with 1 when one is wrong.
import { spawnSync } from 'node:child_process';
import { chownSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dataDirectory, setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const LIMIT_MS = 120_000;
const USER = 61_001;
const OPEN = ['--security-opt', 'seccomp=unconfined', '--security-opt', 'unmask=ALL'];
const isRoot = process.getuid() === 0;

/** What every script in a container begins with. DATA is the one directory that containers share. */
const BEGIN = `fp=${root}/bin/forkpoint; node=${root}/node_modules/node24/bin/node; cd "$DATA" || exit 90
mkdir -p "$FORKPOINT_HOME" && ln -sfn "$ENGINE" "$FORKPOINT_HOME/engine" || exit 91
start() { "$fp" run -d --name "$1" -- "$node" -e 'let n = 0; setInterval(() => console.log("tick " + ++n), 20)'; }
seen() { i=0; until "$fp" logs "$1" | grep -q "$2"; do i=$((i + 1)); [ $i -lt 200 ] || return 1; done; }
`;
const CYCLE = `start first && seen first 'tick 3$' && "$fp" checkpoint first ./image --stop || exit 92
"$fp" restore ./image -d --name second && seen second tick && "$fp" logs second | head -n 1
`;

const CASES = [
  {
    name: 'as podman makes it: refused by run, named by doctor',
    options: [],
    script: '"$fp" run -- true; echo "code $?"; "$fp" doctor',
    expected: [
      /cannot mount \/proc in the pod[^\n]*\nHint: [^\n]*unmask=ALL/,
      /^code 125$/m,
      /^ok +surroundings +podman; it needs .*unmask=ALL$/m,
      /^FAIL +seccomp .*\n +Hint: .*seccomp=unconfined/m,
      /^FAIL +pod: mount .*\n +Hint: .*unmask=ALL/m,
    ],
  },
  {
    name: 'with a seccomp filter: runs, a checkpoint is refused by name, the program goes on',
    options: ['--security-opt', 'unmask=ALL'],
    script: `start first && seen first tick; "$fp" checkpoint first ./image; echo "code $?"
      n=$("$fp" logs first | wc -l); seen first "tick $((n + 5))$" && echo "it goes on"`,
    expected: [
      /runs under a seccomp filter[^\n]*start the container .*seccomp=unconfined/,
      /^code 1$/m,
      /^it goes on$/m,
    ],
  },
  {
    name: 'root of a container: works',
    options: OPEN,
    script: `"$fp" doctor | grep FAIL; ${CYCLE}`,
    works: true,
  },
  {
    name: 'a user without any capability, no-new-privileges: works',
    options: [...OPEN, '--user', String(USER), '--cap-drop=all', '--security-opt', 'no-new-privileges'],
    script: `"$fp" doctor | grep FAIL; ${CYCLE}`,
    works: true,
  },
  {
    name: 'an image that one container has taken, in another one: works',
    options: [...OPEN, '--user', String(USER), '--cap-drop=all'],
    first: 'start first && seen first \'tick 3$\' && "$fp" checkpoint first ./image --stop',
    script: '"$fp" restore ./image -d --name second && seen second tick && "$fp" logs second | head -n 1',
    works: true,
  },
  { name: 'privileged: works', options: ['--privileged'], script: CYCLE, works: true },
];

/** The first line of a clone is the one after the last of the original; nothing that doctor tries may fail. */
const WORKS = [/^tick (?!1$)\d+$/m, /^(?![^]*FAIL)/];

function lendEngine(directory) {
  const [engine, copy] = [join(dataDirectory(), 'engine'), join(directory, 'engine')];
  cpSync(engine, copy, { recursive: true, verbatimSymlinks: true });
  const plan = join(copy, 'engine.plan');
  writeFileSync(plan, readFileSync(plan, 'latin1').replaceAll(engine, copy), 'latin1');
  spawnSync('chmod', ['-R', 'a+rX', directory]);
  return copy;
}

/** Runs a script in a container and returns all that it wrote. */
function contain(directory, data, options, script) {
  const own = (name) => join(directory, 'podman', name);
  const podman = [
    'podman',
    '--root',
    own('root'),
    '--runroot',
    own('run'),
    '--events-backend=file',
    'run',
    '--rm',
  ];
  const variables = {
    DATA: data,
    FORKPOINT_HOME: join(data, 'home'),
    ENGINE: join(directory, 'engine'),
    HOME: data,
  };
  const argv = [
    ...podman,
    // With them as they are here: no network is needed, and who may not raise limits cannot raise them for others.
    ...['--net=none', '--ulimit', 'nofile=20000:20000', '--ulimit', 'nproc=10000:10000'],
    ...options,
    ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    ...[
      '-v',
      `${root}:${root}:ro`,
      '-v',
      `${directory}/engine:${directory}/engine:ro`,
      '-v',
      `${data}:${data}`,
    ],
    ...['--rootfs', '/:O', 'sh', '-c', BEGIN + script],
  ];
  // crun refuses a machine that has both versions of cgroups mounted: it does not get to see the second one.
  const alone = 'mount --make-rprivate /; umount /sys/fs/cgroup/unified 2> /dev/null; exec "$@"';
  const whole = isRoot ? ['unshare', '--mount', 'sh', '-c', alone, 'sh', ...argv] : argv;
  const { stdout, stderr, error } = spawnSync(whole[0], whole.slice(1), {
    encoding: 'utf8',
    timeout: LIMIT_MS,
  });
  return `${stdout}${stderr}${error ? `\n${error.message}` : ''}`;
}

function attempt(directory, number, { options, first, script, expected, works }) {
  const data = join(directory, `data${number}`);
  mkdirSync(data);
  // Who is root in the container is not there root over what belongs to others.
  if (isRoot && options.includes('--user')) chownSync(data, USER, USER);
  const before = first === undefined ? '' : contain(directory, data, options, first);
  const text = before + contain(directory, data, options, script);
  const wrong = (works === true ? WORKS : expected).find((pattern) => !pattern.test(text));
  return wrong === undefined ? null : `${wrong} is not in:\n${text}`;
}

const found = spawnSync('podman', ['--version'], { encoding: 'utf8' });
if (found.status !== 0) {
  console.error('Error: podman is not on this machine\nHint: as root: apt-get install podman crun');
  process.exit(1);
}
await setup();
const directory = mkdtempSync(join(tmpdir(), 'fp-containers-'));
let failed = 0;
try {
  spawnSync('chmod', ['755', directory]);
  lendEngine(directory);
  console.log(found.stdout.trim());
  for (const [number, one] of CASES.entries()) {
    const complaint = attempt(directory, number, one);
    if (complaint !== null) failed++;
    console.log(
      `${complaint === null ? 'ok  ' : 'FAIL'}  ${one.name}${complaint === null ? '' : `\n${complaint}`}`,
    );
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;
