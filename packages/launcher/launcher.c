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
    if (run->detach || run->logs) {
      stdio->kind = fd == 0 ? STDIO_NULL : STDIO_LOG;
      stdio->inner = stdio->outer = -1;
    } else {
      classify(stdio, fd);
    }
    int is_pipe = stdio->kind == STDIO_PASS || stdio->kind == STDIO_PUMP || stdio->kind == STDIO_PTY;
    if (pollable != NULL && pollable[fd] && !is_pipe && !((run->detach || run->logs) && fd > 0)) stdio->kind = STDIO_PUMP;
    if (stdio->kind != STDIO_PUMP) continue;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) bail(EXIT_OURS, "cannot make a pipe:");
    stdio->inner = ends[fd == 0 ? 0 : 1];
    stdio->outer = ends[fd == 0 ? 1 : 0];
    set_nonblocking(stdio->outer, 1);
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
  text_print(&text, ",\"generation\":%ld,\"index\":", run->generation);
  if (run->index < 0) text_print(&text, "null,\"args\":");
  else text_print(&text, "%ld,\"args\":", run->index);
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
  if (run->given != NULL && write_file(join(run->ctl, "/warm", NULL), run->given, run->given_length, O_CREAT | O_TRUNC) != 0)
    bail(EXIT_OURS, "cannot write what the program is given in %s:", run->ctl);
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

void write_run_record(struct run *run, pid_t inner, long root) {
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
             (int)inner, start_time(inner), run->detach || run->survives ? "true" : "false", run->reseed ? "true" : "false");
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
  // In the pod we are who the image's program was, whoever we are here: CRIU gives its processes their ids back.
  const struct record *owner = run->plan != NULL && run->image != NULL ? plan_find(run->plan, "owner") : NULL;
  int has_owner = owner != NULL && owner->count == 2;
  const char *ids[2] = {has_owner ? owner->field[0] : NULL, has_owner ? owner->field[1] : NULL};
  if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWTIME) != 0) {
    int error = errno;
    // Of a run that never was nothing stays.
    if (run->image == NULL) remove_tree(run->dir);
    errno = error;
    bail(EXIT_OURS, "cannot make namespaces; run `forkpoint doctor` to see what this machine lacks:");
  }
  put("/proc/self/setgroups", "deny");
  run->uid = uid;
  if (put("/proc/self/uid_map", "%u %u 1", ids[0] != NULL ? (uid_t)atol(ids[0]) : uid, uid) != 0 ||
      put("/proc/self/gid_map", "%u %u 1", ids[1] != NULL ? (gid_t)atol(ids[1]) : gid, gid) != 0)
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

void announce(const struct run *run, pid_t inner) {
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
pid_t start_inner(struct run *run) {
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
  if (waitpid(middle, &status, 0) != middle || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    if (cold_command != NULL) cold_start("no pod can be made here", NULL);
    exit(EXIT_OURS);
  }
  if (read(report[0], &inner, sizeof inner) != sizeof inner) bail(EXIT_OURS, "the pod did not start:");
  close(report[0]);
  return inner;
}

// Makes the pod, runs it to its end (or until it runs, when detached) and returns the exit code.
int run_pod(struct run *run) {
  make_control_directory(run);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, run->link) != 0) bail(EXIT_OURS, "cannot make a socket pair:");
  return outer_serve(run);
}

static char **fields_of(const struct plan *plan, const char *key) {
  const struct record *record = plan_find(plan, key);
  if (record == NULL) bail(EXIT_OURS, "the run plan has no `%s`", key);
  return record->field;
}

// The argument vector that CRIU's own arguments are appended to, the quick one if there is; NULL when set-up has not been done.
char **engine_prefix(const char *home) {
  struct plan plan;
  size_t length;
  char *bytes = read_file(join(home, "/engine/engine.plan", NULL), 1u << 20, &length);
  if (bytes == NULL || plan_parse(bytes, length, &plan, NULL) != 0) return NULL;
  const struct record *record = plan_find(&plan, "quick");
  if (record == NULL) record = plan_find(&plan, "criu");
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
  run.index = run.life = -1;
  run.started_ms = now_ms(CLOCK_REALTIME);
  unlink(path);
  stdio_classify(&run, NULL);
  return run_pod(&run);
}

int main(int count, char **arguments) {
  if (count == 3 && strcmp(arguments[1], "run") == 0) return plan_main(arguments[2]);
  if (count >= 2 && strcmp(arguments[1], "restore") == 0) return restore_main(count - 2, arguments + 2);
  if (count >= 4 && strncmp(arguments[1], "warm", 4) == 0) return warm_main(arguments[1], arguments + 2);
  if (count >= 3 && strcmp(arguments[1], "child") == 0) return child_main(arguments[2], arguments + 3);
  if (count == 2 && strcmp(arguments[1], "cpu") == 0) {
    uint32_t words[16];
    size_t n;
    cpu_words(words, &n);
    for (size_t i = 0; i < n; i++) printf(i > 0 ? " %08x" : "%08x", words[i]);
    printf("\n");
    return 0;
  }
  if (count == 2 && strcmp(arguments[1], "probe") == 0) return probe_main();
  if (count == 3 && strcmp(arguments[1], "notify") == 0) return notify_main(arguments[2]);
  if (count > 2 && strcmp(arguments[1], "evict") == 0) return evict_main(arguments + 2);
  if (count == 4 && strcmp(arguments[1], "exchange") == 0) {
    if (exchange(arguments[2], arguments[3]) == 0) return 0;
    bail(1, "cannot exchange %s and %s:", arguments[2], arguments[3]);
  }
  fprintf(stderr, "Usage: launcher run PLAN | restore IMAGE [OPTION]... [-- ARG...] | child PLAN [FD]... | warm HOME NAME [ARG]... | evict FILE... | exchange PATH PATH | cpu | probe\n");
  return 2;
}
