// `launcher probe`: tries what only C can try, and prints one line for each, `NAME ok` or `NAME REASON`, for `doctor`.
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const char *outcome(int failed) { return failed ? strerror(errno) : "ok"; }

// In the pod's pid 1, as the real one is made; the later tries need a child of ours, as the program is.
static void probe_pod(void) {
  int ends[2], go[2];
  char byte = 0;
  struct stat status;
  int failed = unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
               mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0;
  printf("mount %s\n", outcome(failed));
  printf("devpts %s\n", outcome(mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620") != 0));
  printf("ns_last_pid %s\n", outcome(put("/proc/sys/kernel/ns_last_pid", "7000") != 0));
  fflush(stdout);
  if (pipe(ends) != 0 || pipe(go) != 0) _exit(1);
  pid_t child = fork();
  if (child == 0) {
    close(go[1]);
    _exit(read(go[0], &byte, 1) >= 0 ? 0 : 1);
  }
  int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
  int taken = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, ends[0], 0);
  printf("pidfd_getfd %s\n", outcome(taken < 0));
  printf("kcmp %s\n", outcome(syscall(SYS_kcmp, getpid(), child, KCMP_FILES, 0, 0) < 0));
  printf("map_files %s\n", outcome(stat("/proc/self/map_files", &status) != 0));
  printf("ptrace %s\n", outcome(ptrace(PTRACE_SEIZE, child, NULL, NULL) != 0));
  fflush(stdout);
  kill(child, SIGKILL);
  _exit(0);
}

int probe_main(void) {
  uid_t uid = getuid();
  gid_t gid = getgid();
  int status;
  setvbuf(stdout, NULL, _IOLBF, 0);
  int failed = unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS) != 0;
  if (!failed) {
    put("/proc/self/setgroups", "deny");
    failed = put("/proc/self/uid_map", "%u %u 1", uid, uid) != 0 || put("/proc/self/gid_map", "%u %u 1", gid, gid) != 0;
  }
  printf("userns %s\n", outcome(failed));
  if (failed) return 1;
  failed = unshare(CLONE_NEWTIME) != 0 || put("/proc/self/timens_offsets", "monotonic 1 500000000\nboottime 1 500000000\n") != 0;
  printf("timens %s\n", outcome(failed));
  fflush(stdout);
  pid_t inner = fork();
  if (inner < 0) return 1;
  if (inner == 0) probe_pod();
  waitpid(inner, &status, 0);
  return 0;
}
