// A preload that lets a program's file operations fail or kill it, one by one. FAULT_DIR is the directory that counts,
// FAULT_AT the number of the operation, from 1 on, FAULT_KIND what happens there: `kill` ends the process before the operation,
// `space` answers ENOSPC where a full disk would, `io` EIO there, and `files` EMFILE when a file is opened, to be read or written.
// A change of FAULT_AT begins a new count.
// The file FAULT_LOG is made when an operation has failed.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

static long done, wanted;

// Returns 1 when the operation is to fail; errno says how.
static int strikes(const char *name, const char *path, int takesSpace) {
  const char *directory = getenv("FAULT_DIR"), *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
  if (directory == NULL || at == NULL || kind == NULL || path == NULL) return 0;
  if (strncmp(path, directory, strlen(directory)) != 0) return 0;
  int kills = strcmp(kind, "kill") == 0, files = strcmp(kind, "files") == 0;
  if (files ? strncmp(name, "open", 4) != 0 : !kills && !takesSpace) return 0;
  if (__atomic_exchange_n(&wanted, atol(at), __ATOMIC_SEQ_CST) != atol(at)) done = 0;
  if (__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST) != atol(at)) return 0;
  if (kills) kill(getpid(), SIGKILL);
  const char *log = getenv("FAULT_LOG");
  int fd = log != NULL ? REAL(int, "open", const char *, int, ...)(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (fd >= 0) close(fd);
  errno = files ? EMFILE : strcmp(kind, "io") == 0 ? EIO : ENOSPC;
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

static int open_with(const char *name, const char *path, int flags, mode_t mode) {
  const char *kind = getenv("FAULT_KIND");
  int reads = kind != NULL && strcmp(kind, "files") == 0;
  if ((reads || (flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0) && strikes(name, path, 1)) return -1;
  return REAL(int, name, const char *, int, ...)(path, flags, mode);
}
#define OPEN(name)                                              \
  int name(const char *path, int flags, ...) {                  \
    va_list list;                                               \
    va_start(list, flags);                                      \
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;   \
    va_end(list);                                               \
    return open_with(#name, path, flags, mode);                 \
  }
OPEN(open)
OPEN(open64)

#define ON_FD(type, name, takesSpace, parameters, ...)                                          \
  type name parameters {                                                                        \
    return strikes_fd(#name, fd, takesSpace) ? -1 : ((type(*) parameters)dlsym(RTLD_NEXT, #name))(__VA_ARGS__); \
  }
ON_FD(ssize_t, write, 1, (int fd, const void *bytes, size_t count), fd, bytes, count)
ON_FD(ssize_t, pwrite, 1, (int fd, const void *bytes, size_t count, off_t at), fd, bytes, count, at)
ON_FD(ssize_t, pwrite64, 1, (int fd, const void *bytes, size_t count, off64_t at), fd, bytes, count, at)
ON_FD(ssize_t, writev, 1, (int fd, const struct iovec *parts, int count), fd, parts, count)
ON_FD(int, fchmod, 0, (int fd, mode_t mode), fd, mode)
ON_FD(int, ftruncate64, 1, (int fd, off64_t length), fd, length)

// Counts, but flushes nothing: the death of a process loses nothing of what the kernel holds, and a hundred flushes take long.
int fsync(int fd) { return strikes_fd("fsync", fd, 1) ? -1 : 0; }

// libuv calls copy_file_range by number; the copy goes to the third argument.
long syscall(long number, ...) {
  long argument[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) argument[i] = va_arg(list, long);
  va_end(list);
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
