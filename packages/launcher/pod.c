// The inner launcher: pid 1 of the pod. It mounts what the pod needs and starts the program, or has CRIU start it;
// supervise.c then looks after it.
#include "pod.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define UNMASK "Start the container with --security-opt unmask=ALL (podman) or systempaths=unconfined (Docker)"

struct pod pod;

// Before the program runs a failure ends the pod with a message for the caller.
void fail(int code, const char *format, ...) {
  int error = errno;
  char text[3500], message[4000];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  size_t length = strlen(format);
  int has_errno = length > 0 && format[length - 1] == ':';
  int size = snprintf(message, sizeof message, "failed %d %s%s%s", code, text, has_errno ? " " : "",
                      has_errno ? strerror(error) : "");
  send(pod.run->link[1], message, (size_t)size, MSG_NOSIGNAL);
  _exit(code);
}

static void mount_pod(struct run *run) {
  if (run->hostname != NULL && sethostname(run->hostname, strlen(run->hostname)) != 0) fail(EXIT_OURS, "cannot set the host name %s:", run->hostname);
  if (unshare(CLONE_NEWNS) != 0) fail(EXIT_OURS, "cannot make a mount namespace:");
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail(EXIT_OURS, "cannot make the pod's mounts private:");
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
    fail(EXIT_OURS, "cannot mount /proc in the pod, which a container that masks parts of /proc forbids: %s\nHint: " UNMASK, strerror(errno));
  // CRIU cannot restore a terminal of the host's devpts rootless ("Can't setup uid"), one of the pod's own it can.
  if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620") == 0) {
    struct stat ptmx;
    if (lstat("/dev/ptmx", &ptmx) == 0 && !S_ISLNK(ptmx.st_mode)) mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL);
  }
  if (mkdir(run->ctl_mount, 0700) != 0 && errno != EEXIST) fail(EXIT_OURS, "cannot make %s:", run->ctl_mount);
  if (mount(run->ctl, run->ctl_mount, NULL, MS_BIND, NULL) != 0) fail(EXIT_OURS, "cannot bind %s:", run->ctl_mount);
}

// New pids of the pod start at `base`: high, so that CRIU and the worker keep the low ones, and random, so that two
// pods' programs do not meet in files named after a pid.
static void set_pid_base(long base) { put("/proc/sys/kernel/ns_last_pid", "%ld", base); }

static long random_pid_base(void) {
  uint32_t number;
  char *text = read_file("/proc/sys/kernel/pid_max", 64, NULL);
  long max = text != NULL ? atol(text) : 32768;
  free(text);
  if (random_bytes(&number, sizeof number) != 0) fail(EXIT_OURS, "cannot read /dev/urandom:");
  return max >= 131072 ? 32768 + (long)(number % (uint32_t)(max - 65536)) : 8192 + (long)(number % 16384);
}

// The program goes on with the settings that it had: one that reads keys has switched its terminal to raw.
static void set_terminal(const struct run *run) {
  const struct record *record = run->plan != NULL ? plan_find(run->plan, "terminal") : NULL;
  struct termios settings;
  if (record == NULL || record->count < 5 || tcgetattr(pod.pty_slave, &settings) != 0) return;
  settings.c_iflag = (tcflag_t)atol(record->field[0]);
  settings.c_oflag = (tcflag_t)atol(record->field[1]);
  settings.c_cflag = (tcflag_t)atol(record->field[2]);
  settings.c_lflag = (tcflag_t)atol(record->field[3]);
  settings.c_line = (cc_t)atol(record->field[4]);
  for (size_t i = 0; i < NCCS && i + 5 < record->count; i++) settings.c_cc[i] = (cc_t)atol(record->field[i + 5]);
  if (tcsetattr(pod.pty_slave, TCSANOW, &settings) != 0) warn("cannot set the pod's terminal as it was:");
}

// The pod's terminal: made here, where its devpts is; served by the outer launcher.
static void make_terminal(struct run *run) {
  pod.pty = pod.pty_slave = -1;
  int wanted = 0, unlock = 0;
  unsigned int number;
  char path[64], control[CMSG_SPACE(sizeof(int))];
  for (int fd = 0; fd < 3; fd++) wanted |= run->stdio[fd].kind == STDIO_PTY;
  if (!wanted) return;
  pod.pty = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (pod.pty < 0 || ioctl(pod.pty, TIOCSPTLCK, &unlock) != 0 || ioctl(pod.pty, TIOCGPTN, &number) != 0)
    fail(EXIT_OURS, "cannot make a terminal in the pod:");
  snprintf(path, sizeof path, "/dev/pts/%u", number);
  pod.pty_slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (pod.pty_slave < 0) fail(EXIT_OURS, "cannot open the pod's terminal:");
  set_terminal(run);
  struct iovec part = {(void *)"terminal", 8};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &pod.pty, sizeof(int));
  if (sendmsg(run->link[1], &message, MSG_NOSIGNAL) < 0) fail(EXIT_OURS, "cannot hand over the terminal:");
}

// Errors that go to the same pipe or terminal as the output get an open file description of their own: else nobody could tell the two
// apart in an image, and what is restored or forked from it could not have them at different places.
static void part_errors(struct run *run) {
  const struct stdio *out = &run->stdio[1];
  struct stdio *errors = &run->stdio[2];
  struct stat here, there;
  char path[64];
  int is_terminal = errors->kind == STDIO_PTY;
  if (out->kind != errors->kind || (!is_terminal && errors->kind != STDIO_PASS)) return;
  int fd = is_terminal ? pod.pty_slave : errors->inner;
  if (!is_terminal && (fstat(out->inner, &here) != 0 || fstat(fd, &there) != 0 || here.st_ino != there.st_ino)) return;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  // A pipe that nobody reads is not waited for; it stays as it is, and so does one that belongs to somebody else.
  int opened = open(path, (is_terminal ? O_RDWR : O_WRONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (opened < 0) return;
  errors->inner = fcntl(opened, F_DUPFD_CLOEXEC, 10);
  close(opened);
  set_nonblocking(errors->inner, (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

// Opens what the program shall have as descriptor `fd`, inside the pod.
int pod_open_stdio(struct run *run, int fd) {
  const struct stdio *stdio = &run->stdio[fd];
  int flags = fd == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND, result = -1;
  switch (stdio->kind) {
    case STDIO_NULL: result = open("/dev/null", O_RDWR | O_CLOEXEC); break;
    case STDIO_LOG: result = open(join(run->dir, "/log", NULL), flags | O_CLOEXEC, 0600); break;
    case STDIO_REOPEN:
      // Appending, because the caller's own description of the file keeps its own offset.
      flags = stdio->flags | ((stdio->flags & O_ACCMODE) != O_RDONLY && fd > 0 ? O_APPEND : 0);
      result = open(stdio->path, flags | O_CLOEXEC | O_NOCTTY);
      if (result >= 0 && (flags & O_ACCMODE) == O_RDONLY) lseek(result, lseek(fd, 0, SEEK_CUR), SEEK_SET);
      break;
    case STDIO_PASS: case STDIO_PUMP: result = stdio->inner; break;
    case STDIO_PTY: result = stdio->inner >= 0 ? stdio->inner : pod.pty_slave; break;
  }
  if (result < 0) fail(EXIT_OURS, "cannot open the program's descriptor %d%s%s:", fd, stdio->path != NULL ? " at " : "",
                       stdio->path != NULL ? stdio->path : "");
  return result;
}

void unblock_signals(void) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
}

static int environment_size(char **env) {
  int n = 0;
  while (env[n] != NULL) n++;
  return n;
}

// Becomes the program. Its own ipc namespace is made here rather than with the pod, so that CRIU, outside of it, sees
// that there is one to put into the image.
static void program_main(struct run *run, int report) {
  if (unshare(CLONE_NEWIPC) != 0) _exit(EXIT_OURS);
  setsid();
  int fds[3];
  for (int fd = 0; fd < 3; fd++) fds[fd] = fcntl(pod_open_stdio(run, fd), F_DUPFD_CLOEXEC, 10);
  for (int fd = 0; fd < 3; fd++) dup2(fds[fd], fd);
  report = fcntl(report, F_DUPFD_CLOEXEC, 10);
  if (pod.pty_slave >= 0) ioctl(fds[run->stdio[0].kind == STDIO_PTY ? 0 : run->stdio[1].kind == STDIO_PTY ? 1 : 2], TIOCSCTTY, 0);
  dup2(report, 3);
  fcntl(3, F_SETFD, FD_CLOEXEC);
  syscall(SYS_close_range, 4, ~0U, 0);
  int code = EXIT_NOT_EXECUTABLE;
  if (chdir(run->cwd) == 0) {
    unblock_signals();
    drop_capabilities();
    int n = environment_size(run->env) / 2;
    char **env = must(calloc((size_t)n + 1, sizeof(char *)));
    for (int i = 0; i < n; i++) env[i] = join(run->env[2 * i], "=", run->env[2 * i + 1], NULL);
    // argv[0] is what the caller typed; the file to execute was found by the command line.
    execve(plan_text(run->plan, "file", 0) != NULL ? plan_text(run->plan, "file", 0) : run->argv[0], run->argv, env);
    code = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
  }
  int error = errno;
  char message[16];
  snprintf(message, sizeof message, "%d %d", code, error);
  if (write(3, message, strlen(message)) < 0) _exit(EXIT_OURS);
  _exit(code);
}

static void start_program(struct run *run) {
  int report[2];
  char answer[32] = {0};
  if (pipe2(report, O_CLOEXEC) != 0) fail(EXIT_OURS, "cannot make a pipe:");
  set_pid_base(random_pid_base());
  pod.program = fork();
  if (pod.program < 0) fail(EXIT_OURS, "cannot start the program:");
  if (pod.program == 0) program_main(run, report[1]);
  close(report[1]);
  ssize_t count = read(report[0], answer, sizeof answer - 1);
  close(report[0]);
  if (count > 0) {
    char *rest;
    int code = (int)strtol(answer, &rest, 10);
    errno = atoi(rest);
    fail(code, "cannot execute `%s` in %s:", run->argv[0], run->cwd);
  }
}

void write_state(const char *text) {
  char *path = join(pod.run->dir, "/state", NULL), *draft = join(path, ".new", NULL);
  if (write_file(draft, text, strlen(text), O_CREAT | O_TRUNC) != 0 || rename(draft, path) != 0) warn("cannot write %s:", path);
  free(path);
  free(draft);
}

void make_member(long pid) {
  char path[4200];
  snprintf(path, sizeof path, "%s/members/%ld", pod.run->ctl_mount, pid);
  mkdir(path, 0700);
  static const char *const fifos[] = {"/outcome", "/park", "/assign"};
  for (size_t i = 0; i < sizeof fifos / sizeof *fifos; i++) {
    char *fifo = join(path, fifos[i], NULL);
    if (make_fifo(fifo) != 0) warn("cannot make the FIFO %s:", fifo);
    free(fifo);
  }
}

// Executes CRIU with the namespace's capabilities; used for dump and restore. The kernel-feature cache that CRIU keeps in
// XDG_RUNTIME_DIR saves some 10 to 30 ms a call; /dev/shm is the tmpfs that every machine has.
void pod_exec_criu(struct run *run, const char *verb, size_t count, char **arguments) {
  char runtime[64], *argv[CRIU_ARGS_MAX + 64];
  struct stat owner;
  size_t n = 0;
  snprintf(runtime, sizeof runtime, "/dev/shm/forkpoint-%u", run->uid);
  mkdir(runtime, 0700);
  if (lstat(runtime, &owner) != 0 || !S_ISDIR(owner.st_mode) || owner.st_uid != getuid() || (owner.st_mode & 077) != 0)
    snprintf(runtime, sizeof runtime, "/nonexistent");
  while (run->engine[n] != NULL && n < 32) {
    argv[n] = run->engine[n];
    n++;
  }
  argv[n++] = (char *)verb;
  for (size_t i = 0; i < count && i < CRIU_ARGS_MAX; i++) argv[n++] = arguments[i];
  argv[n] = NULL;
  int null = open("/dev/null", O_RDWR);
  dup2(null, 0);
  dup2(2, 1);
  if (run->preload != NULL) setenv("LD_PRELOAD", run->preload, 1);
  else unsetenv("LD_PRELOAD");
  unsetenv("NODE_OPTIONS");
  setenv("XDG_RUNTIME_DIR", runtime, 1);
  setenv("GNUTLS_NO_IMPLICIT_INIT", "1", 1);
  unblock_signals();
  raise_ambient();
  execv(argv[0], argv);
  warn("cannot execute CRIU at %s:", argv[0]);
  _exit(EXIT_NOT_FOUND);
}

// The restored program goes on: whoever was blocked at the checkpoint gets its outcome.
static void restored(struct run *run) {
  const struct record *blocked = plan_find(run->plan, "blocked");
  struct text text = {0};
  set_pid_base(run->pid_base);
  text_print(&text, "{\"v\":1,\"outcome\":\"restored\",\"id\":");
  text_json(&text, run->id);
  text_print(&text, ",\"image\":");
  text_json(&text, run->image);
  text_print(&text, ",\"parentId\":");
  text_json(&text, run->parent_id);
  text_print(&text, ",\"generation\":%ld,\"index\":", run->generation);
  if (run->index < 0) text_print(&text, "null,\"args\":");
  else text_print(&text, "%ld,\"fork\":%s,\"args\":", run->index, run->fork_json);
  text_add(&text, run->args_json, strlen(run->args_json));
  text_print(&text, ",\"env\":");
  text_add(&text, run->env_json, strlen(run->env_json));
  text_print(&text, ",\"cwd\":");
  text_json(&text, run->new_cwd);
  text_print(&text, ",\"elapsedMs\":%lld,\"restoreMs\":%lld,\"reseed\":%s}", run->started_ms - run->taken_ms,
             now_ms(CLOCK_REALTIME) - run->started_ms, run->reseed ? "true" : "false");
  for (size_t i = 0; blocked != NULL && i < blocked->count; i++)
    pod_answer(join(run->ctl_mount, "/", blocked->field[i], NULL), text.bytes);
  free(text.bytes);
}

// Checked in the pod: since Linux 6.14 every pid namespace has a limit of its own (kernel/pid_namespace.c).
static void check_pids(const struct run *run) {
  char *text = read_file("/proc/sys/kernel/pid_max", 64, NULL);
  if (text != NULL && run->pid_base >= atol(text)) fail(EXIT_OURS, "restore pids %ld", run->pid_base);
  free(text);
}

static long long now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void start_restored(struct run *run, int log) {
  int status;
  const struct record *members = plan_find(run->plan, "member");
  check_pids(run);
  for (size_t i = 0; members != NULL && i < members->count; i++) make_member(atol(members->field[i]));
  restore_fill_slots(run);
  long long began = now_us();
  pid_t criu = restore_spawn(run);
  long long deadline = now_ms(CLOCK_MONOTONIC) + run->timeout_ms;
  for (;;) {
    pid_t pid = waitpid(criu, &status, WNOHANG);
    if (pid == criu) break;
    long long left = deadline - now_ms(CLOCK_MONOTONIC);
    // An error in CRIU's restorer leaves it and the half-made program hanging for ever (criu/pie/restorer.c, BUG).
    if (left <= 0) fail(EXIT_OURS, "restore timeout %ld", run->timeout_ms);
    struct pollfd wait[2] = {{pod.signals, POLLIN, 0}, {run->link[1], 0, 0}};
    struct signalfd_siginfo info;
    int ready = poll(wait, 2, (int)left);
    // Nobody is left who could clean up.
    if (ready > 0 && wait[1].revents != 0) remove_tree(run->dir), _exit(EXIT_OURS);
    if (ready <= 0 || read(pod.signals, &info, sizeof info) != sizeof info) continue;
    if (info.ssi_signo != SIGCHLD && info.ssi_signo != SIGWINCH && info.ssi_signo != SIGCONT)
      fail(128 + (int)info.ssi_signo, "interrupted during the restore");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    fail(EXIT_OURS, "restore engine %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  long long took = now_us() - began;
  pod.program = (pid_t)run->root_pid;
  restored(run);
  close_slots(run);
  // Only now, so that the program does not wait for it. `npm run bench -- restore` reads it.
  dprintf(log, "forkpoint: CRIU took %lld us\n", took);
}

void inner_main(struct run *run) {
  char started[64];
  pod.run = run;
  pod.request = pod.from_worker = pod.to_worker = -1;
  close(run->link[0]);
  if (run->life >= 0) close(run->life);
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NAME, "forkpoint");
  for (int fd = 0; fd < 3; fd++)
    if (run->stdio[fd].outer >= 0) close(run->stdio[fd].outer);
  mount_pod(run);
  sigset_t all, read;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  // What is read is handed on to the program. These two come of the launcher's own writes, to a worker that was killed or to
  // its log, and are none of the program's: blocked as they are, they do nothing.
  sigfillset(&read);
  sigdelset(&read, SIGPIPE);
  sigdelset(&read, SIGXFSZ);
  pod.signals = signalfd(-1, &read, SFD_CLOEXEC | SFD_NONBLOCK);
  if (pod.signals < 0) fail(EXIT_OURS, "signalfd failed:");
  // From here on the link tells of the outer launcher's death, and leaves time to clean up.
  prctl(PR_SET_PDEATHSIG, 0);
  open_request();
  make_terminal(run);
  part_errors(run);
  write_state("running\n");
  // From here on the launcher's own words go into the run's log.
  int log = open(join(run->dir, "/launcher.log", NULL), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) fail(EXIT_OURS, "cannot open launcher.log in %s:", run->dir);
  if (run->image != NULL) start_restored(run, log);
  else start_program(run);
  for (int fd = 0; fd < 3; fd++)
    if (run->stdio[fd].inner > 2) close(run->stdio[fd].inner);
  if (pod.pty_slave >= 0) close(pod.pty_slave);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, 0);
  dup2(log, 1);
  dup2(log, 2);
  if (chdir("/") != 0) warn("cannot change to /:");
  snprintf(started, sizeof started, "started %d", (int)pod.program);
  send(run->link[1], started, strlen(started), MSG_NOSIGNAL);
  start_deliveries();
  supervise();
  _exit(EXIT_OURS);
}
