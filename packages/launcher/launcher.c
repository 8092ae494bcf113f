// The outer launcher: stays in the caller's namespaces, makes the pod's, serves the terminal and the pipes that
// cannot be handed through, forwards signals, and ends with the program's exit code.
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

// The caller's terminal, to be put back on every way out.
static struct termios terminal_before;
static int terminal_fd = -1;

static void restore_terminal(void) {
  if (terminal_fd >= 0) tcsetattr(terminal_fd, TCSADRAIN, &terminal_before);
  terminal_fd = -1;
}

// A direction of bytes between the caller and the pod.
struct pump {
  int from, to;
  char buffer[16384];
  size_t length, done;
  int ended;  // nothing more will come from `from`
};

struct outer {
  struct run *run;
  pid_t inner;
  int signals, master;
  struct pump pump[5];
  size_t pumps;
  int started, exit_code, inner_gone;
  char *failure;
};

// Decides how the program gets descriptor `fd`, from what the caller has there.
static void classify(struct stdio *stdio, int fd) {
  struct stat here, there;
  char link[64], target[4096];
  stdio->inner = stdio->outer = -1;
  stdio->kind = STDIO_NULL;
  if (fstat(fd, &here) != 0) return;
  if (isatty(fd)) {
    stdio->kind = STDIO_PTY;
    return;
  }
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, target, sizeof target - 1);
  target[length < 0 ? 0 : length] = 0;
  if (S_ISFIFO(here.st_mode) && strncmp(target, "pipe:", 5) == 0) {
    stdio->kind = STDIO_PASS;
    stdio->inner = fd;
    return;
  }
  stdio->kind = STDIO_PUMP;
  if ((S_ISREG(here.st_mode) || S_ISCHR(here.st_mode)) && stat(target, &there) == 0 && here.st_dev == there.st_dev &&
      here.st_ino == there.st_ino) {
    stdio->flags = fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK);
    // The file may have been opened by somebody with more rights than we have.
    int probe = open(target, stdio->flags | O_CLOEXEC | O_NOCTTY);
    if (probe < 0) return;
    close(probe);
    stdio->kind = STDIO_REOPEN;
    stdio->path = must(strdup(target));
  }
}

// Fills run->stdio. `wanted` is NULL, or tells which descriptors exist in the image and must not be regular files.
void stdio_classify(struct run *run, const int *pollable) {
  for (int fd = 0; fd < 3; fd++) {
    struct stdio *stdio = &run->stdio[fd];
    if (run->detach) {
      stdio->kind = fd == 0 ? STDIO_NULL : STDIO_LOG;
      stdio->inner = stdio->outer = -1;
    } else {
      classify(stdio, fd);
    }
    int is_pipe = stdio->kind == STDIO_PASS || stdio->kind == STDIO_PUMP || stdio->kind == STDIO_PTY;
    if (pollable != NULL && pollable[fd] && !is_pipe && !(run->detach && fd > 0)) stdio->kind = STDIO_PUMP;
    if (stdio->kind != STDIO_PUMP) continue;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) bail(EXIT_OURS, "cannot make a pipe:");
    stdio->inner = ends[fd == 0 ? 0 : 1];
    stdio->outer = ends[fd == 0 ? 1 : 0];
  }
}

static void make_control_directory(struct run *run) {
  static const char *const fifos[] = {"request", "outcome", "assign"};
  snprintf(run->ctl, sizeof run->ctl, "%s/ctl", run->dir);
  if (mkdir(run->ctl, 0700) != 0 && errno != EEXIST) bail(EXIT_OURS, "cannot make %s:", run->ctl);
  char *members = join(run->ctl, "/members", NULL), *results = join(run->dir, "/results", NULL);
  if ((mkdir(members, 0700) != 0 && errno != EEXIST) || (mkdir(results, 0700) != 0 && errno != EEXIST))
    bail(EXIT_OURS, "cannot make the directories of %s:", run->dir);
  for (size_t i = 0; i < sizeof fifos / sizeof *fifos; i++)
    if (make_fifo(join(run->ctl, "/", fifos[i], NULL)) != 0) bail(EXIT_OURS, "cannot make FIFO %s:", fifos[i]);
  struct text text = {0};
  text_print(&text, "{\"v\":1,\"id\":");
  text_json(&text, run->id);
  text_print(&text, ",\"name\":");
  text_json(&text, run->name);
  text_print(&text, ",\"image\":");
  text_json(&text, run->image);
  text_print(&text, ",\"imageId\":");
  text_json(&text, run->image_id);
  text_print(&text, ",\"parentId\":");
  text_json(&text, run->parent_id);
  text_print(&text, ",\"generation\":%ld,\"index\":null,\"args\":", run->generation);
  text_add(&text, run->args_json, strlen(run->args_json));
  text_print(&text, ",\"env\":");
  text_add(&text, run->env_json, strlen(run->env_json));
  text_print(&text, ",\"to\":");
  text_json(&text, run->to);
  text_print(&text, ",\"toCwd\":");
  text_json(&text, run->to_cwd);
  text_print(&text, ",\"startedAt\":%lld,\"elapsedMs\":%lld}\n", run->started_ms,
             run->image != NULL ? run->started_ms - run->taken_ms : 0LL);
  if (write_file(join(run->ctl, "/identity.json", NULL), text.bytes, text.length, O_CREAT | O_TRUNC) != 0)
    bail(EXIT_OURS, "cannot write identity.json in %s:", run->ctl);
  free(text.bytes);
}

// Field 22 of /proc/PID/stat: with the pid it names a process for good.
static long long start_time(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  char *stat = read_file(path, 8192, NULL), *c = stat != NULL ? strrchr(stat, ')') : NULL;
  for (int field = 2; c != NULL && field < 22; field++) c = strchr(c + 1, ' ');
  long long result = c != NULL ? atoll(c + 1) : 0;
  free(stat);
  return result;
}

static void write_run_record(struct run *run, pid_t inner, long root) {
  struct text text = {0};
  text_print(&text, "{\"v\":1,\"id\":");
  text_json(&text, run->id);
  text_print(&text, ",\"name\":");
  text_json(&text, run->name);
  text_print(&text, ",\"command\":");
  text_add(&text, run->command, strlen(run->command));
  text_print(&text, ",\"startedAt\":%lld,\"generation\":%ld,\"parentId\":", run->started_ms, run->generation);
  text_json(&text, run->parent_id);
  text_print(&text, ",\"image\":");
  text_json(&text, run->image);
  text_print(&text, ",\"pid\":%ld,\"launcherPid\":%d,\"launcherStart\":%lld,\"detached\":%s,\"reseed\":%s,\"to\":", root,
             (int)inner, start_time(inner), run->detach ? "true" : "false", run->reseed ? "true" : "false");
  text_json(&text, run->to);
  text_print(&text, ",\"toCwd\":");
  text_json(&text, run->to_cwd);
  text_print(&text, "}\n");
  char *path = join(run->dir, "/run.json", NULL), *draft = join(path, ".new", NULL);
  if (write_file(draft, text.bytes, text.length, O_CREAT | O_TRUNC) != 0 || rename(draft, path) != 0)
    warn("cannot write %s:", path);
  free(text.bytes);
}

// User, pid, uts and time namespaces. The mount and ipc namespaces are made further in.
static void make_namespaces(struct run *run) {
  uid_t uid = getuid();
  gid_t gid = getgid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWTIME) != 0)
    bail(EXIT_OURS, "cannot make namespaces; run `forkpoint doctor` to see what this machine lacks:");
  put("/proc/self/setgroups", "deny");
  if (put("/proc/self/uid_map", "%u %u 1", uid, uid) != 0 || put("/proc/self/gid_map", "%u %u 1", gid, gid) != 0)
    bail(EXIT_OURS, "cannot map uid %u into the pod; run `forkpoint doctor`:", uid);
  if (!run->has_clock) return;
  // The clocks go on from where the checkpoint stopped them: Node aborts when CLOCK_MONOTONIC runs backwards, and a jump
  // forward would fire all timers at once.
  struct timespec now[2];
  clock_gettime(CLOCK_MONOTONIC, &now[0]);
  clock_gettime(CLOCK_BOOTTIME, &now[1]);
  long long offset[4];
  for (int i = 0; i < 2; i++) {
    offset[2 * i] = run->clock[2 * i] - now[i].tv_sec;
    offset[2 * i + 1] = run->clock[2 * i + 1] - now[i].tv_nsec;
    if (offset[2 * i + 1] < 0) {
      offset[2 * i + 1] += 1000000000;
      offset[2 * i]--;
    }
  }
  if (put("/proc/self/timens_offsets", "monotonic %lld %lld\nboottime %lld %lld\n", offset[0], offset[1], offset[2],
          offset[3]) != 0)
    bail(EXIT_OURS, "cannot set the pod's clocks:");
}

// Raw for what is typed; output stays processed unless all three descriptors are the terminal, because somebody else
// may be writing to it through a pipe.
static void terminal_raw(struct outer *outer) {
  const struct stdio *stdio = outer->run->stdio;
  if (stdio[0].kind != STDIO_PTY || (stdio[1].kind != STDIO_PTY && stdio[2].kind != STDIO_PTY)) return;
  if (tcgetpgrp(0) != getpgrp() || tcgetattr(0, &terminal_before) != 0) return;
  struct termios raw = terminal_before;
  cfmakeraw(&raw);
  if (stdio[1].kind != STDIO_PTY || stdio[2].kind != STDIO_PTY) raw.c_oflag = terminal_before.c_oflag;
  terminal_fd = 0;
  atexit(restore_terminal);
  tcsetattr(0, TCSADRAIN, &raw);
}

static int terminal_of(const struct run *run) {
  for (int fd = 0; fd < 3; fd++)
    if (run->stdio[fd].kind == STDIO_PTY) return fd;
  return -1;
}

static void copy_window_size(struct outer *outer) {
  struct winsize size;
  int fd = terminal_of(outer->run);
  if (fd >= 0 && outer->master >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0) ioctl(outer->master, TIOCSWINSZ, &size);
}

static void add_pump(struct outer *outer, int from, int to) {
  struct pump *pump = &outer->pump[outer->pumps++];
  memset(pump, 0, sizeof *pump);
  pump->from = from;
  pump->to = to;
}

// The pod's terminal has arrived from the inner launcher.
static void serve_terminal(struct outer *outer, int master) {
  const struct stdio *stdio = outer->run->stdio;
  outer->master = master;
  copy_window_size(outer);
  int out = stdio[1].kind == STDIO_PTY ? 1 : stdio[2].kind == STDIO_PTY ? 2 : 0;
  add_pump(outer, master, out);
  if (stdio[0].kind == STDIO_PTY) add_pump(outer, 0, master);
  terminal_raw(outer);
}

// A restored program has no controlling terminal, so the pod's terminal cannot turn typed characters into signals: the
// launcher does, by the terminal's own settings.
static void typed_signals(struct outer *outer, const char *bytes, size_t length) {
  struct termios inner;
  pid_t group;
  if (ioctl(outer->master, TIOCGPGRP, &group) == 0 && group > 0) return;
  if (tcgetattr(outer->master, &inner) != 0 || !(inner.c_lflag & ISIG)) return;
  for (size_t i = 0; i < length; i++) {
    if ((cc_t)bytes[i] == inner.c_cc[VINTR]) kill(outer->inner, SIGINT);
    if ((cc_t)bytes[i] == inner.c_cc[VQUIT]) kill(outer->inner, SIGQUIT);
  }
}

static void pump_step(struct outer *outer, struct pump *pump, short events_in, short events_out) {
  if (pump->done == pump->length && (events_in & (POLLIN | POLLHUP | POLLERR))) {
    ssize_t count = read(pump->from, pump->buffer, sizeof pump->buffer);
    if (count > 0) {
      pump->length = (size_t)count;
      pump->done = 0;
      if (pump->to == outer->master) typed_signals(outer, pump->buffer, pump->length);
      events_out = POLLOUT;
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      pump->ended = 1;
    }
  }
  if (pump->done < pump->length && (events_out & (POLLOUT | POLLERR))) {
    ssize_t count = write(pump->to, pump->buffer + pump->done, pump->length - pump->done);
    if (count > 0) pump->done += (size_t)count;
    else if (count < 0 && errno != EAGAIN && errno != EINTR) pump->ended = 1, pump->done = pump->length;
  }
  if (pump->ended && pump->done == pump->length && pump->to > 2 && pump->to != outer->master) {
    close(pump->to);  // The program sees the end of its input.
    pump->to = -1;
  }
}

// What the inner launcher says: `started PID`, `failed CODE text`, or a terminal in the ancillary data.
static void read_link(struct outer *outer) {
  char buffer[4096], control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {buffer, sizeof buffer - 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t count = recvmsg(outer->run->link[0], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count <= 0) {
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) close(outer->run->link[0]), outer->run->link[0] = -1;
    return;
  }
  buffer[count] = 0;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header != NULL && header->cmsg_type == SCM_RIGHTS) {
    int master;
    memcpy(&master, CMSG_DATA(header), sizeof master);
    serve_terminal(outer, master);
  } else if (strncmp(buffer, "started ", 8) == 0) {
    outer->started = 1;
    write_run_record(outer->run, outer->inner, atol(buffer + 8));
  } else if (strncmp(buffer, "failed ", 7) == 0) {
    char *text = NULL;
    outer->exit_code = (int)strtol(buffer + 7, &text, 10);
    restore_terminal();
    if (*text == ' ') outer->failure = must(strdup(text + 1));
  }
}

static void read_signal(struct outer *outer) {
  struct signalfd_siginfo info;
  if (read(outer->signals, &info, sizeof info) != sizeof info) return;
  if (info.ssi_signo == SIGWINCH) copy_window_size(outer);
  if (info.ssi_signo != SIGCHLD) {
    kill(outer->inner, (int)info.ssi_signo);
    return;
  }
  int status;
  if (waitpid(outer->inner, &status, WNOHANG) != outer->inner) return;
  outer->inner_gone = 1;
  if (WIFEXITED(status)) {
    if (outer->exit_code < 0) outer->exit_code = WEXITSTATUS(status);
  } else {
    fprintf(stderr, "Error: The pod's launcher was killed by signal %d.\n", WTERMSIG(status));
    outer->exit_code = EXIT_OURS;
  }
}

static void poll_once(struct outer *outer, int timeout) {
  struct pollfd fds[2 + 10];
  nfds_t n = 0;
  fds[n++] = (struct pollfd){outer->signals, POLLIN, 0};
  fds[n++] = (struct pollfd){outer->run->link[0], POLLIN, 0};
  for (size_t i = 0; i < outer->pumps; i++) {
    struct pump *pump = &outer->pump[i];
    int empty = pump->done == pump->length;
    fds[n++] = (struct pollfd){empty && !pump->ended ? pump->from : -1, POLLIN, 0};
    fds[n++] = (struct pollfd){empty ? -1 : pump->to, POLLOUT, 0};
  }
  size_t pumps = outer->pumps;
  if (poll(fds, n, timeout) <= 0) return;
  if (fds[1].revents != 0) read_link(outer);
  for (size_t i = 0; i < pumps; i++) pump_step(outer, &outer->pump[i], fds[2 + 2 * i].revents, fds[3 + 2 * i].revents);
  if (fds[0].revents != 0) read_signal(outer);
}

// After the pod is gone: what it still wrote reaches the caller, and a reopened file's offset follows.
static void finish(struct outer *outer) {
  while (outer->run->link[0] >= 0) read_link(outer);
  for (size_t i = 0; i < outer->pumps; i++) {
    struct pump *pump = &outer->pump[i];
    if (pump->from == 0 || pump->from == -1) continue;
    set_nonblocking(pump->from, 1);
    while (!pump->ended || pump->done < pump->length) {
      if (pump->done == pump->length) {
        ssize_t count = read(pump->from, pump->buffer, sizeof pump->buffer);
        if (count <= 0) break;
        pump->length = (size_t)count;
        pump->done = 0;
      }
      ssize_t count = write(pump->to, pump->buffer + pump->done, pump->length - pump->done);
      if (count < 0 && errno == EAGAIN) {
        struct pollfd ready = {pump->to, POLLOUT, 0};
        if (poll(&ready, 1, 5000) <= 0) break;
      } else if (count <= 0) {
        break;
      } else {
        pump->done += (size_t)count;
      }
    }
  }
  for (int fd = 1; fd < 3; fd++)
    if (outer->run->stdio[fd].kind == STDIO_REOPEN) lseek(fd, 0, SEEK_END);
  restore_terminal();
}

static void announce(const struct run *run, pid_t inner) {
  if (!run->json) {
    printf("%s\n", run->id);
  } else {
    struct text text = {0};
    text_print(&text, "{\"id\":");
    text_json(&text, run->id);
    text_print(&text, ",\"name\":");
    text_json(&text, run->name);
    text_print(&text, ",\"launcherPid\":%d,\"image\":", (int)inner);
    text_json(&text, run->image);
    text_print(&text, ",\"generation\":%ld,\"slots\":[", run->generation);
    for (size_t i = 0, n = 0; i < run->slots; i++) {
      if (run->slot[i].kind != SLOT_TCP && run->slot[i].kind != SLOT_UNIX) continue;
      text_print(&text, n++ > 0 ? ",{\"id\":" : "{\"id\":");
      text_json(&text, run->slot[i].id);
      text_print(&text, ",\"address\":");
      text_json(&text, run->slot[i].address);
      text_print(&text, "}");
    }
    text_print(&text, "]}");
    printf("%s\n", text.bytes);
  }
  fflush(stdout);
}

// Starts pid 1 of the pod, as our own child. A process in between makes the namespaces: this one must stay able to start
// threads and children, which it could not after unshare(CLONE_NEWPID) once the pod is gone.
static pid_t start_inner(struct run *run) {
  int status, report[2];
  pid_t inner;
  if (pipe2(report, O_CLOEXEC) != 0) bail(EXIT_OURS, "cannot make a pipe:");
  pid_t middle = fork();
  if (middle < 0) bail(EXIT_OURS, "cannot start the pod:");
  if (middle == 0) {
    make_namespaces(run);
    inner = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
    if (inner < 0) bail(EXIT_OURS, "cannot start the pod:");
    if (inner == 0) {
      close(report[0]);
      close(report[1]);
      inner_main(run);
    }
    _exit(write(report[1], &inner, sizeof inner) == sizeof inner ? 0 : EXIT_OURS);
  }
  close(report[1]);
  if (waitpid(middle, &status, 0) != middle || !WIFEXITED(status) || WEXITSTATUS(status) != 0) exit(EXIT_OURS);
  if (read(report[0], &inner, sizeof inner) != sizeof inner) bail(EXIT_OURS, "the pod did not start:");
  close(report[0]);
  return inner;
}

// Makes the pod, runs it to its end (or until it runs, when detached) and returns the exit code.
int run_pod(struct run *run) {
  static struct outer outer;
  sigset_t set;
  outer.run = run;
  outer.master = outer.exit_code = -1;
  make_control_directory(run);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, run->link) != 0) bail(EXIT_OURS, "cannot make a socket pair:");
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) sigaddset(&set, forwarded[i]);
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  outer.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (outer.signals < 0) bail(EXIT_OURS, "signalfd failed:");
  outer.inner = start_inner(run);
  close(run->link[1]);
  for (int fd = 0; fd < 3; fd++) {
    if (run->stdio[fd].kind != STDIO_PUMP) continue;
    close(run->stdio[fd].inner);
    if (run->detach) continue;
    if (fd == 0) add_pump(&outer, 0, run->stdio[fd].outer);
    else add_pump(&outer, run->stdio[fd].outer, fd);
  }
  while (!outer.inner_gone && !(run->detach && outer.started)) poll_once(&outer, -1);
  if (outer.inner_gone) finish(&outer);
  else announce(run, outer.inner);
  if (outer.failure != NULL && run->arguments != NULL) exec_cli("restore-explain", outer.failure, run->dir, run->arguments);
  if (outer.failure != NULL) fprintf(stderr, "Error: %s\n", outer.failure);
  return outer.inner_gone ? outer.exit_code : 0;
}

static char **fields_of(const struct plan *plan, const char *key) {
  const struct record *record = plan_find(plan, key);
  if (record == NULL) bail(EXIT_OURS, "the run plan has no `%s`", key);
  return record->field;
}

// The argument vector that CRIU's own arguments are appended to; NULL when set-up has not been done.
char **engine_prefix(const char *home) {
  struct plan plan;
  size_t length;
  char *bytes = read_file(join(home, "/engine/engine.plan", NULL), 1u << 20, &length);
  if (bytes == NULL || plan_parse(bytes, length, &plan, NULL) != 0) return NULL;
  const struct record *record = plan_find(&plan, "criu");
  return record != NULL && record->count > 0 ? record->field : NULL;
}

static int plan_main(const char *path) {
  static struct run run;
  struct plan *plan = must(calloc(1, sizeof *plan));
  size_t length;
  char *bytes = read_file(path, 64u << 20, &length);
  if (bytes == NULL) bail(EXIT_OURS, "cannot read the run plan %s:", path);
  if (plan_parse(bytes, length, plan, NULL) != 0) bail(EXIT_OURS, "the run plan %s is malformed", path);
  run.plan = plan;
  run.id = fields_of(plan, "id")[0];
  run.name = fields_of(plan, "name")[0];
  run.home = fields_of(plan, "home")[0];
  run.dir = fields_of(plan, "dir")[0];
  run.cwd = fields_of(plan, "cwd")[0];
  run.command = fields_of(plan, "command")[0];
  run.argv = fields_of(plan, "arg");
  run.env = fields_of(plan, "env");
  run.worker = fields_of(plan, "worker");
  run.engine = engine_prefix(run.home);
  run.to = plan_text(plan, "to", 0);
  run.to_cwd = plan_text(plan, "to", 1);
  run.detach = atoi(fields_of(plan, "detach")[0]);
  run.json = atoi(fields_of(plan, "json")[0]);
  run.ctl_mount = join(run.home, "/pod", NULL);
  run.env_json = "{}";
  run.args_json = "[]";
  run.reseed = 1;
  run.timeout_ms = 60000;
  run.started_ms = now_ms(CLOCK_REALTIME);
  unlink(path);
  stdio_classify(&run, NULL);
  return run_pod(&run);
}

int main(int count, char **arguments) {
  if (count == 3 && strcmp(arguments[1], "run") == 0) return plan_main(arguments[2]);
  if (count >= 2 && strcmp(arguments[1], "restore") == 0) return restore_main(count - 2, arguments + 2);
  if (count == 2 && strcmp(arguments[1], "cpu") == 0) {
    uint32_t words[16];
    size_t n;
    cpu_words(words, &n);
    for (size_t i = 0; i < n; i++) printf(i > 0 ? " %08x" : "%08x", words[i]);
    printf("\n");
    return 0;
  }
  fprintf(stderr, "Usage: launcher run PLAN | restore IMAGE [OPTION]... [-- ARG...] | cpu\n");
  return 2;
}
