import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readEngineLog } from '../src/index.ts';

const noise = [
  '(00.006402) Error (criu/net.c:1253): net: Unexpected error: -1(Operation not permitted)',
  "(00.007303) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted",
  '(00.007310) Warn  (criu/kerndat.c:1200): $XDG_RUNTIME_DIR not set. Cannot find location for kerndat file',
];
const read = (...lines: string[]) => readEngineLog([...noise, ...lines, ''].join('\n'));

test('a log with nothing but the usual complaints names no cause', () => {
  assert.deepEqual(read(), { code: 'unknown', reason: null, hint: null, errors: [] });
});

const cases: [code: string, line: string, quoted?: string][] = [
  ['io-uring', 'Error (criu/proc_parse.c:502): Unknown shit 600 (anon_inode:[io_uring])'],
  ['io-uring', '(00.1) pie: 2001: Error (pie/parasite.c:588): send_fds failed (-22)'],
  [
    'tcp-connection',
    'Error (criu/sk-inet.c:200): inet: Connected TCP socket, consider using --tcp-established option.',
  ],
  ['tcp-connection', 'Error (criu/sk-inet.c:185): inet: In-flight connection (l) for 1f2'],
  [
    'unix-socket',
    'Error (criu/sk-unix.c:874): unix: External socket is used. Consider using --ext-unix-sk option.',
  ],
  [
    'unix-socket',
    "Error (criu/sk-unix.c:881): unix: Can't dump half of stream unix connection. name: (null); peer name: /run/pg",
    '/run/pg',
  ],
  [
    'file-lock',
    'Error (criu/file-lock.c:110): Some file locks are hold by dumping tasks! You can try --file-locks to dump them.',
  ],
  ['network', 'Error (criu/kerndat.c:732): Unable to connect a socket: Network is unreachable'],
  ['inotify', "Error (criu/fsnotify.c:284): fsnotify: \tCan't dump that handle"],
  [
    'address-in-use',
    "Error (criu/sk-inet.c:1059): inet: Can't bind inet socket (id 27): Address already in use",
  ],
  ['file-changed', 'Error (criu/files-reg.c:2175): File tmp/state has bad size 128 (expect 0)', 'tmp/state'],
  [
    'file-changed',
    'Error (criu/files-reg.c:2294): File tmp/state has bad mode 0100666 (expect 0100644)',
    '0100644',
  ],
  ['file-changed', 'Error (criu/files-reg.c:2153): File usr/bin/node has bad build-ID', 'usr/bin/node'],
  [
    'file-missing',
    "Error (criu/files-reg.c:2353): Can't open file home/u/app.log on restore: No such file or directory",
    'home/u/app.log',
  ],
  [
    'slot',
    "Error (criu/files-reg.c:2353): Can't open file fp-slot/27 on restore: No such file or directory",
    'fp-slot/27',
  ],
  ['pid-in-use', "Error (criu/cr-restore.c:1230): Can't fork for 5003: File exists", '5003'],
  ['mount', "Error (criu/files-reg.c:1790): Can't lookup mount=24 for fd=10 path=/dev/null", '/dev/null'],
  [
    'deleted-file',
    "Error (criu/proc_parse.c:376): Can't open mapped [/tmp/jffi1.so (deleted)]: No such file",
    '/tmp/jffi1.so',
  ],
  [
    'deleted-file',
    "Error (criu/files-reg.c:1031): Can't dump ghost file /tmp/x of 2097152 size, increase limit",
    '2097152',
  ],
  ['space', "Error (criu/page-xfer.c:9): page-xfer: Can't write page: No space left on device"],
  ['space', 'Error (criu/image.c:1): image: Unable to write image: Disk quota exceeded'],
  ['seccomp', 'Error (compel/src/lib/ptrace.c:27): suspending seccomp failed: Operation not permitted'],
  ['credentials', "(00.2) pie: 7001: Error (criu/pie/restorer.c:226): Can't setgroups([3 gids]): -1"],
  ['credentials', '(00.2) pie: 7001: Error (criu/pie/restorer.c:347): Unable to restore capabilities: -1'],
  [
    'session',
    'Error (criu/cr-dump.c:1681): A session leader of 4001(4001) is outside of its pid namespace',
    '4001',
  ],
  ['cpu', 'Error (criu/arch/x86/cpu.c:223): cpu: CPU instruction capabilities do not match run time'],
  ['cpu', 'Error (criu/arch/x86/cpu.c:262): cpu: CPU xfeatures has unsupported bits (0x20000)'],
  [
    'traced',
    'Error (compel/src/lib/infect.c:261): Unseizable non-zombie 7003 found, state t, err -1/3',
    '7003',
  ],
  ['image', "Error (criu/image.c:554): Head magic doesn't match for pstree.img"],
  ['image', 'Error (criu/protobuf.c:72): Unexpected EOF on (empty-image)'],
  ['limits', "Error (criu/files.c:9): Can't open: Too many open files"],
  ['device', "Error (criu/proc_parse.c:663): Can't handle non-regular mapping on 7001's map 7f00"],
  [
    'permission',
    'Error (criu/crtools.c:1): CRIU needs to have the CAP_SYS_ADMIN or the CAP_CHECKPOINT_RESTORE capability: ',
  ],
];

for (const [code, line, quoted] of cases) {
  test(`${code}: ${line.slice(0, 70)}`, () => {
    const log = read(line, '(00.9) Error (criu/cr-dump.c:2128): Dumping FAILED.');
    assert.equal(log.code, code);
    assert.ok(log.reason !== null && !/\$[1-9]/.test(log.reason), `no reason: ${log.reason}`);
    if (quoted !== undefined) assert.match(log.reason, new RegExp(quoted.replaceAll('/', '\\/')));
    assert.equal(log.errors.length, 2);
  });
}

test('the cause is named, not the consequences that CRIU reports around it', () => {
  const log = read(
    '(00.05) Error (criu/cr-restore.c:1917): Unable to detach 7002: No such process',
    "(00.06) pie: 7001: Error (criu/pie/restorer.c:226): Can't setgroups([3 gids]): -1",
    '(00.07) pie: 7001: BUG at criu/pie/restorer.c:820',
    '(00.08) Error (criu/cr-restore.c:2324): Restoring FAILED.',
  );
  assert.equal(log.code, 'credentials');
});

test('an unknown error is quoted without its time stamp', () => {
  const log = read('(00.01) Error (criu/new.c:1): Something nobody has seen');
  assert.equal(log.code, 'unknown');
  assert.equal(log.reason, 'CRIU stopped with: Error (criu/new.c:1): Something nobody has seen');
});

test('a restore that waits for a file lock says so', () => {
  const log = read('(00.009970)   7002: (flock)flag: 2, type: 1, cmd: 2, pid: 7002, fd: 3');
  assert.equal(log.code, 'file-lock');
  assert.match(log.reason ?? '', /descriptor 3 of process 7002/);
});

test('a huge log is read within limits, and binary rubbish does not stop it', () => {
  const start = Date.now();
  const rubbish = `Error ${'('.repeat(5000)}\n\u0000\uffff Error: \n`.repeat(20_000);
  const log = readEngineLog(`${rubbish}\nError (criu/image.c:1): No space left on device\n`);
  assert.ok(log.errors.length <= 20);
  assert.ok(log.errors.every((line) => line.length <= 400));
  assert.ok(Date.now() - start < 5000);
});
