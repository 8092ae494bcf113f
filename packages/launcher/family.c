// The inner launcher's part in a fork: it takes the program's descriptors for the children, and asks the nursery in the
// caller's namespaces to start them. It also learns there when it is left alone.
#include "pod.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// FORKPOINT_NO_GETFD stands for a kernel or a security module that refuses pidfd_getfd to whoever may trace the program all the same.
// Takes descriptors of the program, given as pairs of a process and a number, while it stands still. Answers with one
// field for each: its place for `child`, or the error's negative number.
void take_descriptors(const struct record *record) {
  char answers[SCM_FDS_MAX][12], *fields[SCM_FDS_MAX];
  size_t count = record->count / 2;
  if (count > SCM_FDS_MAX - pod.takes) count = SCM_FDS_MAX - pod.takes;
  for (size_t i = 0; i < count; i++) {
    int result, process = (int)syscall(SYS_pidfd_open, atoi(record->field[2 * i]), 0);
    int fd = -1;
    if (getenv("FORKPOINT_NO_GETFD") != NULL) errno = EPERM;
    else if (process >= 0) fd = (int)syscall(SYS_pidfd_getfd, process, atoi(record->field[2 * i + 1]), 0);
    result = fd < 0 ? -errno : (int)pod.takes;
    if (fd >= 0) pod.taken[pod.takes++] = fd;
    if (process >= 0) close(process);
    snprintf(answers[i], sizeof answers[i], "%d", result);
    fields[i] = answers[i];
  }
  tell_worker("taken", count, fields);
}

void drop_descriptors(void) {
  while (pod.takes > 0) close(pod.taken[--pod.takes]);
}

// Where the children of the last fork come to lie, HOME/runs/ID, once their launchers have taken over HOME/runs/OURS/forks/ID.
static char **expected;
static size_t expectations;
static pid_t expected_of;

static void expect_child(const char *plan) {
  if (expected_of != pod.worker)
    while (expectations > 0) free(expected[--expectations]);
  expected_of = pod.worker;
  char *directory = must(strdup(plan)), *slash = strrchr(directory, '/');
  if (slash != NULL) *slash = 0;
  const char *id = slash != NULL ? strrchr(directory, '/') : NULL;
  expected = must(realloc(expected, (expectations + 1) * sizeof *expected));
  expected[expectations++] = join(pod.run->home, "/runs", id != NULL ? id : "/none", NULL);
  free(directory);
}

// The nursery was killed, and with it those of its children's launchers that had no pod yet: nobody else knows of them.
void remove_stillborn(void) {
  if (pod.run->link[1] >= 0) return;
  for (size_t i = 0; i < expectations; i++) {
    char *record = join(expected[i], "/run.json", NULL);
    if (access(record, F_OK) != 0) remove_tree(expected[i]);
    free(record);
  }
}

// `child DETACHED PLAN PLACE...`: has the nursery start one child, which inherits the descriptors at these places.
void start_child(const struct record *record) {
  char text[8000], control[CMSG_SPACE(sizeof pod.taken)];
  int fds[SCM_FDS_MAX];
  size_t count = 0;
  int size = snprintf(text, sizeof text, "child %s %s", record->field[0], record->field[1]);
  for (size_t i = 2; i < record->count && count < SCM_FDS_MAX; i++) {
    size_t place = (size_t)atol(record->field[i]);
    if (place < pod.takes) fds[count++] = pod.taken[place];
  }
  struct iovec part = {text, (size_t)size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof *fds);
    memset(control, 0, message.msg_controllen);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof *fds);
    memcpy(CMSG_DATA(header), fds, count * sizeof *fds);
  }
  expect_child(record->field[1]);
  errno = pod.run->link[1] < 0 ? EPIPE : ENAMETOOLONG;
  int fits = pod.run->link[1] >= 0 && size < (int)sizeof text;
  reply(fits && sendmsg(pod.run->link[1], &message, MSG_NOSIGNAL | MSG_DONTWAIT) == size ? 0 : -1);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)status, (void)kind, (void)where;
  return remove(path) != 0 && errno != ENOENT;
}

// Removes a directory with all that is in it, or as much of it as can be removed. A walk gives up at a directory that somebody else has removed just before (glibc, io/ftw.c), and misses what is made behind it: a child
// that is killed while it starts is cleaned up by its nursery and by its own pid 1, which may be dying.
void remove_tree(const char *path) {
  const struct timespec pause = {0, 2000000};
  for (int tries = 0; tries < 20; tries++) {
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (access(path, F_OK) != 0) return;
    nanosleep(&pause, NULL);
  }
}

// The temporary image of a fork, and the directories of children that have not started yet.
void remove_forks(void) {
  char *path = join(pod.run->dir, "/forks", NULL);
  remove_tree(path);
  free(path);
}

// The outer launcher says `signal N`; when it is gone, so is the caller, and the program ends unless it is detached.
void read_link(void) {
  char text[64];
  ssize_t count = recv(pod.run->link[1], text, sizeof text - 1, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count > 0) {
    text[count] = 0;
    int number = strncmp(text, "signal ", 7) == 0 ? atoi(text + 7) : 0;
    if (number > 0 && number < NSIG) kill(pod.program, number);
    return;
  }
  close(pod.run->link[1]);
  pod.run->link[1] = -1;
  // A detached run goes on without its nursery. One of which nothing was noted yet would be known to nobody.
  pod.unrecorded = access(join(pod.run->dir, "/run.json", NULL), F_OK) != 0;
  if (pod.run->detach && !pod.unrecorded) return;
  pod.orphaned = 1;
  kill(pod.program, SIGKILL);
}
