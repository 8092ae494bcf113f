// A preload that lets a program's file operations fail or kill it, one by one. FAULT_DIR is the directory that counts,
// FAULT_AT the number of the operation, from 1 on, FAULT_KIND what happens there: `kill` ends the process before the operation,
// `halt` holds it there until somebody removes FAULT_LOG, `space` answers ENOSPC where a full disk would, `io` EIO there, and
// `files` EMFILE when a file is opened, to be read or written. A change of FAULT_AT begins a new count.
// The file FAULT_LOG is made when an operation has failed or is held; how many there were is in the file FAULT_COUNT at the end.
// What runs in pods has no environment of ours: a build with FAULT_ROLE and FAULT_CONTROL reads `SEQUENCE ROLE KIND AT DIR LOG` from
// the file FAULT_CONTROL instead, whenever it counts; another SEQUENCE begins a new count. A launcher built with FAULT_WORKER
// starts its workers with that library.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

static long done, wanted;

struct order {
  long sequence, at;
  char kind[16], directory[PATH_MAX], log[PATH_MAX];
};

// Returns 1 when there is an order for this process.
static int read_order(struct order *order) {
#ifdef FAULT_CONTROL
  char text[2 * PATH_MAX + 128], role[16];
  int fd = REAL(int, "open", const char *, int, ...)(FAULT_CONTROL, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
  if (fd >= 0) close(fd);
  if (length <= 0) return 0;
  text[length] = 0;
  if (sscanf(text, "%ld %15s %15s %ld %4095s %4095s", &order->sequence, role, order->kind, &order->at, order->directory, order->log) != 6)
    return 0;
  return strcmp(role, FAULT_ROLE) == 0;
#else
  const char *directory = getenv("FAULT_DIR"), *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND"), *log = getenv("FAULT_LOG");
  if (directory == NULL || at == NULL || kind == NULL) return 0;
  order->sequence = order->at = atol(at);
  snprintf(order->kind, sizeof order->kind, "%s", kind);
  snprintf(order->directory, sizeof order->directory, "%s", directory);
  snprintf(order->log, sizeof order->log, "%s", log != NULL ? log : "");
  return 1;
#endif
}

// Returns 1 when the operation is to fail; errno says how.
static int strikes(const char *name, const char *path, int takesSpace) {
  struct order order;
  int before = errno;
  if (path == NULL || !read_order(&order)) return errno = before, 0;
  errno = before;
  if (strncmp(path, order.directory, strlen(order.directory)) != 0) return 0;
  int kills = strcmp(order.kind, "kill") == 0, halts = strcmp(order.kind, "halt") == 0, files = strcmp(order.kind, "files") == 0;
  if (files ? strncmp(name, "open", 4) != 0 : !kills && !halts && !takesSpace) return 0;
  if (__atomic_exchange_n(&wanted, order.sequence, __ATOMIC_SEQ_CST) != order.sequence) done = 0;
  if (__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST) != order.at) return 0;
#ifdef FAULT_CONTROL
  // A child goes on counting where its parent was: only the first of the two is meant.
  char once[PATH_MAX + 32];
  snprintf(once, sizeof once, "%s.%ld", order.log, order.sequence);
  int first = REAL(int, "open", const char *, int, ...)(once, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (first < 0) return errno = before, 0;
  close(first);
#endif
  if (kills) kill(getpid(), SIGKILL);
  int fd = *order.log != 0 ? REAL(int, "open", const char *, int, ...)(order.log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (fd >= 0) dprintf(fd, "%d %s %s\n", getpid(), name, path), close(fd);
  if (halts) {
    struct timespec pause = {0, 1000000};
    for (int i = 0; i < 30000 && access(order.log, F_OK) == 0; i++) nanosleep(&pause, NULL);
    errno = before;
    return 0;
  }
  errno = files ? EMFILE : strcmp(order.kind, "io") == 0 ? EIO : ENOSPC;
  return 1;
}

static int strikes_fd(const char *name, int fd, int takesSpace) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strikes(name, path, takesSpace);
}

static int counts_open(int flags) {
  struct order order;
  int before = errno, reads = read_order(&order) && strcmp(order.kind, "files") == 0;
  errno = before;
  return reads || (flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0;
}

// Makes a path of a directory's descriptor and a name; returns the name when it needs none.
static const char *path_at(int directory, const char *name, char *path) {
  char link[64];
  if (name == NULL || *name == '/') return name;
  if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
  else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return NULL;
  snprintf(path + length, PATH_MAX - (size_t)length, "/%s", name);
  return path;
}

static mode_t mode_of(int flags, va_list list) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0; }

#define OPEN(name)                                                              \
  int name(const char *path, int flags, ...) {                                  \
    va_list list;                                                               \
    va_start(list, flags);                                                      \
    mode_t mode = mode_of(flags, list);                                         \
    va_end(list);                                                               \
    if (counts_open(flags) && strikes(#name, path, 1)) return -1;               \
    return REAL(int, #name, const char *, int, ...)(path, flags, mode);         \
  }
OPEN(open)
OPEN(open64)
#define OPEN_AT(name)                                                                        \
  int name(int directory, const char *path, int flags, ...) {                                \
    char whole[PATH_MAX];                                                                    \
    va_list list;                                                                            \
    va_start(list, flags);                                                                   \
    mode_t mode = mode_of(flags, list);                                                      \
    va_end(list);                                                                            \
    if (counts_open(flags) && strikes(#name, path_at(directory, path, whole), 1)) return -1; \
    return REAL(int, #name, int, const char *, int, ...)(directory, path, flags, mode);      \
  }
OPEN_AT(openat)
OPEN_AT(openat64)

#define ON_FD(type, name, takesSpace, parameters, ...)                                          \
  type name parameters {                                                                        \
    return strikes_fd(#name, fd, takesSpace) ? -1 : ((type(*) parameters)dlsym(RTLD_NEXT, #name))(__VA_ARGS__); \
  }
ON_FD(ssize_t, write, 1, (int fd, const void *bytes, size_t count), fd, bytes, count)
ON_FD(ssize_t, pwrite, 1, (int fd, const void *bytes, size_t count, off_t at), fd, bytes, count, at)
ON_FD(ssize_t, pwrite64, 1, (int fd, const void *bytes, size_t count, off64_t at), fd, bytes, count, at)
ON_FD(ssize_t, writev, 1, (int fd, const struct iovec *parts, int count), fd, parts, count)
ON_FD(ssize_t, splice, 1, (int in, off64_t *from, int fd, off64_t *to, size_t count, unsigned flags), in, from, fd, to, count, flags)
ON_FD(int, fallocate64, 1, (int fd, int mode, off64_t at, off64_t length), fd, mode, at, length)
ON_FD(int, fchmod, 0, (int fd, mode_t mode), fd, mode)
ON_FD(int, ftruncate64, 1, (int fd, off64_t length), fd, length)

// Counts, but flushes nothing: the death of a process loses nothing of what the kernel holds, and a hundred flushes take long.
int fsync(int fd) { return strikes_fd("fsync", fd, 1) ? -1 : 0; }

// libuv calls copy_file_range by number, and the launcher renameat2; what they change is named by the third and the fourth argument.
long syscall(long number, ...) {
  long argument[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) argument[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_renameat2 && strikes("renameat2", (const char *)argument[3], 1)) return -1;
  if (number == SYS_copy_file_range && strikes_fd("copy_file_range", (int)argument[2], 1)) return -1;
  return REAL(long, "syscall", long, ...)(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
ssize_t sendfile64(int fd, int in, off64_t *from, size_t count) {
  if (strikes_fd("sendfile64", fd, 1)) return -1;
  return REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t)(fd, in, from, count);
}

#define ON_PATH(name, takesSpace, parameters, ...)                                               \
  int name parameters {                                                                          \
    return strikes(#name, path, takesSpace) ? -1 : ((int(*) parameters)dlsym(RTLD_NEXT, #name))(__VA_ARGS__); \
  }
ON_PATH(mkdir, 1, (const char *path, mode_t mode), path, mode)
ON_PATH(rename, 1, (const char *path, const char *to), path, to)
ON_PATH(unlink, 0, (const char *path), path)
ON_PATH(rmdir, 0, (const char *path), path)
ON_PATH(chmod, 0, (const char *path, mode_t mode), path, mode)
int link(const char *from, const char *path) {
  return strikes("link", path, 1) ? -1 : REAL(int, "link", const char *, const char *)(from, path);
}
int linkat(int directory, const char *from, int other, const char *path, int flags) {
  char whole[PATH_MAX];
  if (strikes("linkat", path_at(other, path, whole), 1)) return -1;
  return REAL(int, "linkat", int, const char *, int, const char *, int)(directory, from, other, path, flags);
}
#define AT_PATH(name, takesSpace, parameters, ...)                                                     \
  int name parameters {                                                                                \
    char whole[PATH_MAX];                                                                              \
    if (strikes(#name, path_at(directory, path, whole), takesSpace)) return -1;                        \
    return ((int(*) parameters)dlsym(RTLD_NEXT, #name))(__VA_ARGS__);                                  \
  }
AT_PATH(mkdirat, 1, (int directory, const char *path, mode_t mode), directory, path, mode)
AT_PATH(unlinkat, 0, (int directory, const char *path, int flags), directory, path, flags)
AT_PATH(fchmodat, 0, (int directory, const char *path, mode_t mode, int flags), directory, path, mode, flags)
AT_PATH(mknodat, 1, (int directory, const char *path, mode_t mode, dev_t device), directory, path, mode, device)
ON_PATH(mkfifo, 1, (const char *path, mode_t mode), path, mode)
int renameat2(int directory, const char *from, int other, const char *path, unsigned flags) {
  if (strikes("renameat2", path, 1)) return -1;
  return REAL(int, "renameat2", int, const char *, int, const char *, unsigned)(directory, from, other, path, flags);
}

#ifdef FAULT_WORKER
// The launcher empties LD_PRELOAD before it starts a worker: this is how the worker comes by its faults all the same.
int execvp(const char *file, char *const words[]) {
  const char *script = words[0] != NULL ? words[1] : NULL, *name = "/worker.cjs";
  size_t length = script != NULL ? strlen(script) : 0;
  if (length > strlen(name) && strcmp(script + length - strlen(name), name) == 0) setenv("LD_PRELOAD", FAULT_WORKER, 1);
  return REAL(int, "execvp", const char *, char *const[])(file, words);
}
#endif

#ifdef FAULT_CONTROL
// What is done at low priority may take for ever on a busy machine, and a walk waits for it at every point.
int setpriority(__priority_which_t which, id_t who, int priority) { return (void)which, (void)who, (void)priority, 0; }
#else
__attribute__((destructor)) static void tell_count(void) {
  const char *file = getenv("FAULT_COUNT");
  FILE *out = file != NULL ? fopen(file, "w") : NULL;
  if (out == NULL) return;
  fprintf(out, "%ld\n", done);
  fclose(out);
}
#endif
