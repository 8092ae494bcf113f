// Children of a running program: `launcher child PLAN FD...`, their line to whoever forked them, and the nursery, which
// starts such launchers in the caller's namespaces, so that the pods of children stand beside the parent's and not in it.
#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REACH_MS 10000

// Where the words about a failed start go instead of the program's own standard error; -1: there.
int failure_fd = -1;

// ---- the child's launcher ----

// Connects to the socket at which whoever forked waits, and says which line of which child this is. The socket appears as
// soon as the parent runs again. By way of the directory's descriptor, because an address holds 107 bytes only.
static int reach(const char *path, long index, const char *line) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct timespec pause = {0, 2000000};
  long long deadline = now_ms(CLOCK_MONOTONIC) + REACH_MS;
  char *directory = must(strdup(path)), *name = strrchr(directory, '/');
  if (name == NULL) bail(EXIT_OURS, "the socket %s of a fork is no absolute path", path);
  *name++ = 0;
  int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int size = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", at, name);
  if (at < 0 || fd < 0 || size >= (int)sizeof address.sun_path) bail(EXIT_OURS, "cannot use the socket %s of a fork:", path);
  while (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    if ((errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN && errno != EINTR) || now_ms(CLOCK_MONOTONIC) > deadline)
      bail(EXIT_OURS, "nobody waits for the children of this fork at %s:", path);
    nanosleep(&pause, NULL);
  }
  char head[64];
  size = snprintf(head, sizeof head, "%ld %s\n", index, line);
  if (send(fd, head, (size_t)size, MSG_NOSIGNAL) != size) bail(EXIT_OURS, "cannot write to the socket %s of a fork:", path);
  close(at);
  free(directory);
  return fd;
}

static void become(int fd, int target) {
  if (fd < 0 || fd == target) return;
  dup2(fd, target);
  close(fd);
}

// The program's standard streams, as ours: three lines to the parent, the parent's own streams, or nothing.
static void take_streams(const struct run *run, const char *kind, const char *socket, char **names, char **fds) {
  static const char *const streams[] = {"stdin", "stdout", "stderr"};
  for (int fd = 0; fd < 3; fd++) {
    int taken = -1;
    for (size_t i = 0; names[i] != NULL && fds[i] != NULL; i++)
      if (strcmp(names[i], streams[fd]) == 0) taken = atoi(fds[i]);
    if (strcmp(kind, "pipe") == 0 && socket != NULL) {
      taken = reach(socket, run->index, streams[fd]);
      set_nonblocking(taken, 1);
    }
    if (taken < 0) taken = open("/dev/null", O_RDWR | O_CLOEXEC);
    become(taken, fd);
  }
}

static char **fields(const struct plan *plan, const char *key) {
  static char *nothing[] = {NULL};
  const struct record *record = plan_find(plan, key);
  return record != NULL ? record->field : nothing;
}

// Which of the parent's listening sockets fill slots, and which slots are closed.
static void take_listeners(struct run *run, const struct plan *plan, char **names, char **fds) {
  size_t n = 0;
  run->inherited = must(calloc(2 * SLOTS_MAX, sizeof *run->inherited));
  for (size_t i = 0; names[i] != NULL && fds[i] != NULL && n < SLOTS_MAX; i++) {
    int fd = atoi(fds[i]), listens = 1;
    socklen_t size = sizeof listens;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    // A server that holds the address for its workers binds the socket only, so that it accepts nothing itself.
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && !listens) listen(fd, SOMAXCONN);
    run->inherited[n++] = (struct inherited){names[i], atoi(fds[i])};
  }
  char **closed = fields(plan, "close");
  for (size_t i = 0; closed[i] != NULL && n < 2 * SLOTS_MAX - 1; i++) run->inherited[n++] = (struct inherited){closed[i], -1};
}

// In place of a listener that the child shall not have: a datagram socket without a name, which stays silent.
static int silent_socket(void) {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) bail(EXIT_OURS, "cannot make a socket:");
  return fd;
}

void child_fill_slots(struct run *run) {
  if (run->inherited == NULL) return;
  for (size_t i = 0; i < run->slots; i++) {
    struct slot *slot = &run->slot[i];
    if (slot->kind != SLOT_TCP && slot->kind != SLOT_UNIX) continue;
    for (const struct inherited *one = run->inherited; one->slot != NULL; one++)
      if (strcmp(one->slot, slot->id) == 0) slot->fd = one->fd >= 0 ? one->fd : silent_socket();
  }
}

int child_main(const char *path, char **fds) {
  static struct run run;
  static struct plan plan;
  size_t length;
  run.started_ms = now_ms(CLOCK_REALTIME);
  char *bytes = read_file(path, 16u << 20, &length);
  if (bytes == NULL || plan_parse(bytes, length, &plan, NULL) != 0) bail(EXIT_OURS, "cannot read the plan of a child, %s:", path);
  static const char *const needed[] = {"id", "home", "index", "stdio", "detach", "fork"};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
    if (plan_text(&plan, needed[i], 0) == NULL) bail(EXIT_OURS, "the plan of a child has no `%s`", needed[i]);
  const char *socket = plan_text(&plan, "socket", 0);
  char **names = fields(&plan, "inherit");
  run.is_child = 1;
  run.id = plan_text(&plan, "id", 0);
  run.home = plan_text(&plan, "home", 0);
  run.index = atol(plan_text(&plan, "index", 0));
  run.fork_json = plan_text(&plan, "fork", 0);
  run.hostname = plan_text(&plan, "hostname", 0);
  run.worker = fields(&plan, "worker");
  run.logs = strcmp(plan_text(&plan, "stdio", 0), "log") == 0;
  run.shares_ports = plan_text(&plan, "shares-ports", 0) != NULL;
  run.survives = atoi(plan_text(&plan, "detach", 0));
  const char *grace = plan_text(&plan, "grace", 0);
  run.grace_ms = grace != NULL ? atol(grace) : 0;
  run.life = socket != NULL ? failure_fd = reach(socket, run.index, "life") : -1;
  // The directory was made below the parent's, which takes it along when it ends: from here on it is ours.
  char *from = must(strdup(path)), *slash = strrchr(from, '/');
  if (slash != NULL) *slash = 0;
  run.dir = join(run.home, "/runs/", run.id, NULL);
  if (rename(from, run.dir) != 0) bail(EXIT_OURS, "cannot make the directory of the child %s:", run.dir);
  take_streams(&run, plan_text(&plan, "stdio", 0), socket, names, fds);
  take_listeners(&run, &plan, names, fds);
  return restore_child(&run, fields(&plan, "arg"));
}

// ---- the line to whoever forked ----

static void say(const struct run *run, const char *text) {
  if (run->life >= 0 && send(run->life, text, strlen(text), MSG_NOSIGNAL) < 0) return;
}

void child_started(const struct run *run, pid_t inner) {
  char text[128 + 4096];
  failure_fd = -1;
  for (size_t i = 0; i < run->slots; i++) {
    const struct slot *slot = &run->slot[i];
    if (slot->address == NULL || (slot->kind != SLOT_TCP && slot->kind != SLOT_UNIX)) continue;
    snprintf(text, sizeof text, "slot %s %s\n", slot->id, slot->address);
    say(run, text);
  }
  snprintf(text, sizeof text, "started %s %d\n", run->id, (int)inner);
  say(run, text);
}

// Tells how the child ended, by its wait status.
void child_ended(struct run *run, int status) {
  char text[64];
  if (!run->survives) remove_tree(run->dir);
  snprintf(text, sizeof text, "exited %d %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 0, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  say(run, text);
}

// Reads the line. Returns a signal for the program, or 0. The end of the parent is that of the child, unless it is detached
// or has some time to end by itself.
int child_told(struct run *run) {
  static char text[256];
  static size_t length;
  ssize_t count = recv(run->life, text + length, sizeof text - 1 - length, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (count <= 0) {
    close(run->life);
    run->life = -1;
    if (run->survives) return 0;
    if (run->grace_ms <= 0) return SIGKILL;
    // It knows by a line of its own that it is alone.
    run->ends_ms = now_ms(CLOCK_MONOTONIC) + run->grace_ms;
    return 0;
  }
  length += (size_t)count;
  text[length] = 0;
  char *end = strchr(text, '\n');
  if (end == NULL) {
    if (length == sizeof text - 1) length = 0;
    return 0;
  }
  int signal = strncmp(text, "kill ", 5) == 0 ? atoi(text + 5) : 0;
  length -= (size_t)(end + 1 - text);
  memmove(text, end + 1, length);
  return signal > 0 && signal < NSIG ? signal : 0;
}

// ---- the nursery ----

// A child's launcher that we have started.
struct nursling {
  pid_t pid;
  char *made, *dir;  // what goes when it is gone: its directory, before and after it has taken it over
};

static struct nursling *nursling;
static size_t nurslings;

// Obeys the inner launcher: `child DETACHED HOME PLAN`, with the parent's descriptors beside it.
void nursery_start(const char *order, int *fds, size_t count) {
  char number[256][12], *argv[260] = {(char *)"launcher", (char *)"child"};
  int detach = atoi(order);
  const char *plan = strchr(order, ' ');
  pid_t self = getpid();
  if (plan == NULL || count > 255) return;
  argv[2] = (char *)++plan;
  pid_t pid = fork();
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (detach) setsid();
    else if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != self) _exit(EXIT_OURS);
    for (size_t i = 0; i < count; i++) {
      fcntl(fds[i], F_SETFD, 0);
      snprintf(number[i], sizeof number[i], "%d", fds[i]);
      argv[3 + i] = number[i];
    }
    execv("/proc/self/exe", argv);
    _exit(EXIT_NOT_EXECUTABLE);
  }
  for (size_t i = 0; i < count; i++) close(fds[i]);
  if (pid < 0 || detach) return;
  // PLAN is HOME/runs/PARENT/forks/ID/child.plan; the child renames its directory to HOME/runs/ID.
  char *made = must(strdup(plan)), *runs = must(strdup(plan)), *part[4] = {0};
  for (int up = 0; up < 4; up++)
    if ((part[up] = strrchr(runs, '/')) != NULL) *part[up]++ = 0;
  made[part[0] != NULL ? part[0] - runs - 1 : 0] = 0;
  nursling = must(realloc(nursling, (nurslings + 1) * sizeof *nursling));
  nursling[nurslings++] = (struct nursling){pid, made, join(runs, "/", part[1] != NULL ? part[1] : "none", NULL)};
  free(runs);
}

// A child's pod cleans up behind itself, unless its launcher was killed.
static void bury(size_t at) {
  remove_tree(nursling[at].made);
  remove_tree(nursling[at].dir);
  free(nursling[at].made);
  free(nursling[at].dir);
  nursling[at] = nursling[--nurslings];
}

// A launcher that was killed before it had its line told nobody, and whoever forked would wait for it until the limit: one
// that begins and ends says that the child has gone. In a process of its own, because the parent may not run yet.
static void tell_stillborn(const char *made) {
  static struct plan plan;
  size_t length;
  char *path = join(made, "/child.plan", NULL), *bytes = read_file(path, 16u << 20, &length);
  free(path);
  if (bytes != NULL && fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    failure_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (plan_parse(bytes, length, &plan, NULL) != 0) _exit(EXIT_OURS);
    const char *socket = plan_text(&plan, "socket", 0), *index = plan_text(&plan, "index", 0);
    if (socket != NULL && index != NULL) reach(socket, atol(index), "life");
    _exit(0);
  }
  free(bytes);
}

void nursery_reap(pid_t pid) {
  for (size_t i = 0; i < nurslings; i++) {
    if (nursling[i].pid != pid) continue;
    tell_stillborn(nursling[i].made);
    bury(i);
    return;
  }
}

// A pid 1 that was killed could not clean up behind itself: what was being made for children, and the control directory with
// page files, FIFOs and sockets; the image of a child, which was made for it alone. Nobody of its pod writes there any more once it is
// gone (pid_namespaces(7)).
static void clear_after(const struct run *run, pid_t inner) {
  static const char *const parts[] = {"/forks", "/ctl", "/image"};
  size_t count = sizeof parts / sizeof *parts - (run->is_child ? 0 : 1);
  size_t length;
  char *state = join(run->dir, "/state", NULL), *text = read_file(state, 256, &length);
  int was_killed = text != NULL && strncmp(text, "running", 7) == 0;
  free(state);
  free(text);
  if (!was_killed) return;
  struct pollfd gone = {(int)syscall(SYS_pidfd_open, inner, 0), POLLIN, 0};
  if (gone.fd >= 0 && poll(&gone, 1, REACH_MS) >= 0) close(gone.fd);
  for (size_t i = 0; i < count; i++) {
    char *path = join(run->dir, parts[i], NULL);
    remove_tree(path);
    free(path);
  }
}

// The end of the parent is that of its children.
void nursery_close(const struct run *run, pid_t inner) {
  for (size_t i = 0; i < nurslings; i++) kill(nursling[i].pid, SIGKILL);
  for (; nurslings > 0; bury(0)) waitpid(nursling[0].pid, NULL, 0);
  clear_after(run, inner);
}
