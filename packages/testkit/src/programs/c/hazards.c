// Memory that linking must not disturb: one hazard per line of the linker's policy, and what programs do to memory.
// Usage: hazards IMAGE1 IMAGE2 [NAME...]
// Sets all hazards up, asks for a checkpoint by the ten-line protocol and ends with it. Restored, it checks each of them and
// changes its memory, asks again, and restored once more checks the rest. Prints `bad NAME: WHAT` for each failure, `ok` at the end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES(n) ((n) * PAGE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

typedef unsigned char byte;

static const char *current = "-";
static int failures;

static void bad(const char *what, long at) {
  printf("bad %s: %s (%ld, errno %d)\n", current, what, at, errno);
  failures++;
}

static void need(int is_right, const char *what) {
  if (!is_right) bad(what, 0);
}

static uint64_t word(uint64_t seed, size_t at) { return (seed << 40) ^ (at * 0x9e3779b97f4a7c15ull) ^ 0x5851f42d4c957f2dull; }

static void fill(void *base, size_t length, uint64_t seed) {
  uint64_t *words = base;
  for (size_t i = 0; i < length / 8; i++) words[i] = word(seed, i);
}

static void same(const void *base, size_t from, size_t to, uint64_t seed, const char *what) {
  const uint64_t *words = base;
  for (size_t i = from / 8; i < to / 8; i++)
    if (words[i] != word(seed, i)) {
      bad(what, (long)(i * 8 / PAGE));
      return;
    }
}

static void empty(const void *base, size_t from, size_t to, const char *what) {
  const uint64_t *words = base;
  for (size_t i = from / 8; i < to / 8; i++)
    if (words[i] != 0) {
      bad(what, (long)(i * 8 / PAGE));
      return;
    }
}

static void *make(size_t length, int prot, int flags) {
  void *place = mmap(NULL, length, prot, flags, -1, 0);
  if (place == MAP_FAILED) {
    perror(current);
    exit(2);
  }
  return place;
}

// Memory whose neighbours in the pages file are not zeros: growing into them would show.
static byte *filled(size_t pages, uint64_t seed) {
  byte *place = make(PAGES(pages), PROT_READ | PROT_WRITE, PRIVATE);
  fill(place, PAGES(pages), seed);
  return place;
}

// Runs `work` in a child, which answers by its exit code.
static int in_child(int (*work)(void)) {
  int status = -1;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(work());
  if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

// ---- lines of the policy ----

static byte *stack;
static size_t deep(int depth) {
  volatile byte frame[4096];
  frame[0] = (byte)depth;
  return depth == 0 ? frame[0] : deep(depth - 1) + frame[0];
}
static void stack_check(int generation) {
  same(stack, 0, PAGES(64), 1, "the stack");
  need(deep(250 * generation) > 0, "depth");
}

static char **arguments;
static int holds(const char *path, const char *text) {
  static char buffer[65536];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
  if (fd >= 0) close(fd);
  return got > 0 && memmem(buffer, (size_t)got, text, strlen(text)) != NULL;
}
static void arguments_check(int generation) {
  need(holds("/proc/self/cmdline", arguments[1]), "/proc/self/cmdline");
  need(holds("/proc/self/environ", "FORKPOINT_DIR="), "/proc/self/environ");
  arguments[1][0] = generation == 1 ? '.' : '/';
  need(holds("/proc/self/cmdline", arguments[1]), "a changed title");
}

static byte *grows;
static void grows_setup(void) {
  // An address that neither the kernel nor V8 gives away: there is room to grow.
  grows = mmap((void *)0x2000000000ul, PAGES(16), PROT_READ | PROT_WRITE, PRIVATE | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
  if (grows == MAP_FAILED) bad("mmap", 0);
  fill(grows, PAGES(16), 2);
}
static void grows_check(int generation) {
  same(grows, 0, PAGES(16), 2, "content");
  for (int i = 1; i <= 8 * generation; i++) grows[-(long)PAGE * i] = (byte)i;
  for (int i = 1; i <= 8 * generation; i++) need(grows[-(long)PAGE * i] == i, "below");
}

static byte *locked;
static void locked_setup(void) {
  locked = filled(16, 3);
  need(mlock(locked, PAGES(16)) == 0, "mlock");
}
static void locked_check(int generation) {
  (void)generation;
  same(locked, 0, PAGES(16), 3, "content");
  need(holds("/proc/self/status", "VmLck:\t      64 kB"), "still locked");
}

static byte *wiped;
static void wiped_setup(void) {
  wiped = filled(16, 4);
  need(madvise(wiped, PAGES(16), MADV_WIPEONFORK) == 0, "madvise");
}
static int wiped_child(void) {
  for (size_t i = 0; i < PAGES(16); i++)
    if (wiped[i] != 0) return 1;
  return 0;
}
static void wiped_check(int generation) {
  (void)generation;
  same(wiped, 0, PAGES(16), 4, "content");
  need(in_child(wiped_child) == 0, "wiped in the child");
}

static byte *huge;
static void huge_setup(void) {
  huge = make(PAGES(2048), PROT_READ | PROT_WRITE, PRIVATE);
  madvise(huge, PAGES(2048), MADV_HUGEPAGE); // EINVAL where the kernel has none
  fill(huge, PAGES(2048), 5);
}
static void huge_check(int generation) {
  same(huge, 0, PAGES(1024), 5, "content");
  if (generation == 2) same(huge + PAGES(1024), 0, PAGES(1024), 55, "rewritten");
  fill(huge + PAGES(1024), PAGES(1024), 55);
}

static byte *shared;
static void shared_setup(void) {
  shared = make(PAGES(32), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  fill(shared, PAGES(32), 6);
}
static int shared_child(void) {
  shared[5000]++;
  return 0;
}
static void shared_check(int generation) {
  byte before = shared[5000];
  same(shared, PAGES(2), PAGES(32), 6, "content");
  need(in_child(shared_child) == 0, "child");
  need(shared[5000] == (byte)(before + 1), "still shared");
  (void)generation;
}

static byte *code;
static void code_setup(void) {
  code = make(PAGES(32), PROT_READ | PROT_WRITE | PROT_EXEC, PRIVATE);
  for (size_t i = 0; i < PAGES(32); i += PAGE) memcpy(code + i, "\xb8\x2a\x00\x00\x00\xc3", 6);
}
static void code_check(int generation) {
  for (size_t i = 0; i < PAGES(32); i += PAGE) {
    int (*function)(void);
    void *at = code + i;
    memcpy(&function, &at, sizeof at);
    need(function() == (generation == 1 ? 42 : 43), "code runs");
    code[i + 1] = 43;
  }
}

// ---- what programs do to memory ----

static byte *grown[3];
static void grow_setup(void) {
  for (int i = 0; i < 3; i++) grown[i] = filled(64, 10 + (uint64_t)i);
}
static void grow_check(int generation) {
  size_t pages = generation == 1 ? 64 : 200, more = generation == 1 ? 200 : 500;
  for (int i = 0; i < 3; i++) {
    same(grown[i], 0, PAGES(64), 10 + (uint64_t)i, "before");
    byte *place = mremap(grown[i], PAGES(pages), PAGES(more), MREMAP_MAYMOVE);
    if (place == MAP_FAILED) {
      bad("mremap", i);
      continue;
    }
    grown[i] = place;
    same(place, 0, PAGES(64), 10 + (uint64_t)i, "after");
    empty(place, PAGES(64), PAGES(more), "grown");
  }
}

static byte *moved;
static void move_setup(void) { moved = filled(100, 15); }
static void move_check(int generation) {
  same(moved, 0, PAGES(100), 15, "before");
  mprotect(moved + PAGES(30), PAGES(10), PROT_READ);
  mprotect(moved + PAGES(30), PAGES(10), PROT_READ | PROT_WRITE);
  byte *target = make(PAGES(300), PROT_NONE, PRIVATE);
  byte *place = mremap(moved, PAGES(100), PAGES(generation == 1 ? 100 : 250), MREMAP_MAYMOVE | MREMAP_FIXED, target);
  need(place == target, "mremap to a fixed place");
  if (place != target) return;
  moved = place;
  same(moved, 0, PAGES(100), 15, "after");
  if (generation == 2) empty(moved, PAGES(100), PAGES(250), "grown");
}

static byte *regrown;
static void regrow_setup(void) { regrown = filled(256, 16); }
static void regrow_check(int generation) {
  size_t kept = generation == 1 ? 100 : 20;
  same(regrown, 0, PAGES(kept), 16, "before");
  need(mremap(regrown, PAGES(256), PAGES(kept), 0) == regrown, "shrink");
  byte *place = mremap(regrown, PAGES(kept), PAGES(256), MREMAP_MAYMOVE);
  if (place == MAP_FAILED) {
    bad("regrow", 0);
    return;
  }
  regrown = place;
  same(regrown, 0, PAGES(kept), 16, "after");
  empty(regrown, PAGES(kept), PAGES(256), "regrown");
}

static byte *behind;
static void dontunmap_setup(void) { behind = filled(64, 17); }
static void dontunmap_check(int generation) {
  same(behind, 0, PAGES(64), 17, "before");
#ifdef MREMAP_DONTUNMAP
  byte *place = mremap(behind, PAGES(64), PAGES(64), MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
  if (place != MAP_FAILED) {
    same(place, 0, PAGES(64), 17, "after");
    empty(behind, 0, PAGES(64), "left behind");
    munmap(behind, PAGES(64));
    behind = place;
  } else if (generation == 2 && errno != EFAULT && errno != EINVAL) {
    bad("mremap", 0);
  }
#else
  (void)generation;
#endif
}

static byte *given;
static void give_back(int advice) {
  need(madvise(given + PAGES(20), PAGES(30), advice) == 0, "madvise");
  same(given, 0, PAGES(20), 18, "before it");
  same(given, PAGES(50), PAGES(100), 18, "behind it");
}
static void dontneed_setup(void) { given = filled(100, 18); }
static void dontneed_check(int generation) {
  if (generation == 2) {
    empty(given, PAGES(20), PAGES(49), "still zeros");
    need(given[PAGES(49)] == 9, "written since");
  }
  give_back(MADV_DONTNEED);
  empty(given, PAGES(20), PAGES(50), "given back");
  given[PAGES(49)] = 9;
}

static byte *freed;
static void free_setup(void) { freed = filled(100, 19); }
static void free_check(int generation) {
  size_t from = generation == 1 ? 20 : 60;
  same(freed, 0, PAGES(20), 19, "before it");
  need(madvise(freed + PAGES(from), PAGES(30), MADV_FREE) == 0, "madvise");
  // The old content or zeros, page by page; what is written afterwards stays.
  for (size_t i = from; i < from + 30; i++) {
    const uint64_t *words = (const uint64_t *)(freed + PAGES(i));
    need(words[0] == 0 || words[0] == word(19, i * PAGE / 8), "old content or zeros");
    freed[PAGES(i)] = 7;
    need(freed[PAGES(i)] == 7, "written");
  }
  same(freed, PAGES(90), PAGES(100), 19, "behind it");
}

static byte *split;
static void split_setup(void) { split = filled(96, 20); }
static void split_check(int generation) {
  byte *middle = split + PAGES(32);
  same(split, 0, PAGES(96), 20, "before");
  need(mprotect(middle, PAGES(32), PROT_NONE) == 0, "to nothing");
  same(split, 0, PAGES(32), 20, "the first third");
  need(mprotect(middle, PAGES(32), PROT_READ) == 0, "to reading");
  same(split, 0, PAGES(96), 20, "again");
  need(mprotect(split, PAGES(96), PROT_READ | PROT_WRITE) == 0, "to writing");
  fill(split, PAGES(96), 20);
  if (generation == 1) mprotect(middle, PAGES(32), PROT_READ);
}

static byte *forked;
static void fork_setup(void) { forked = filled(128, 21); }
static int fork_child(void) {
  int before = failures;
  same(forked, 0, PAGES(128), 21, "the child's view");
  fill(forked, PAGES(64), 99);
  same(forked, 0, PAGES(64), 99, "the child's own");
  madvise(forked + PAGES(64), PAGES(64), MADV_DONTNEED);
  empty(forked, PAGES(64), PAGES(128), "given back by the child");
  fflush(stdout);
  return failures == before ? 0 : 1;
}
static void fork_check(int generation) {
  same(forked, 0, PAGES(128), 21, "the parent's view");
  need(in_child(fork_child) == 0, "child");
  same(forked, 0, PAGES(128), 21, "unharmed by the child");
  fill(forked, PAGES(128), 21);
  (void)generation;
}

static byte *seen;
static void proc_setup(void) { seen = filled(64, 22); }
static void proc_check(int generation) {
  static byte copy[PAGES(64)], other[PAGES(64)];
  int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  need(fd >= 0 && pread(fd, copy, sizeof copy, (off_t)(uintptr_t)seen) == (ssize_t)sizeof copy, "read /proc/self/mem");
  same(copy, 0, PAGES(64), 22, "through /proc/self/mem");
  struct iovec here = {other, sizeof other}, there = {seen, sizeof other};
  need(process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)sizeof other, "process_vm_readv");
  same(other, 0, PAGES(64), 22, "through process_vm_readv");
  need(pwrite(fd, copy, PAGES(10), (off_t)(uintptr_t)seen) == (ssize_t)PAGES(10), "write /proc/self/mem");
  same(seen, 0, PAGES(64), 22, "after the write");
  if (fd >= 0) close(fd);
  (void)generation;
}

static byte *heap_end;
static void brk_setup(void) {
  heap_end = sbrk((intptr_t)PAGES(64));
  heap_end = (byte *)(((uintptr_t)heap_end + 7) & ~7ul);
  fill(heap_end, PAGES(63), 23);
}
static void brk_check(int generation) {
  size_t kept = generation == 1 ? 32 : 8;
  same(heap_end, 0, PAGES(kept), 23, "before");
  need(brk(heap_end + PAGES(kept)) == 0, "shrink");
  need(brk(heap_end + PAGES(200)) == 0, "regrow");
  same(heap_end, 0, PAGES(kept), 23, "after");
  empty(heap_end, PAGES(kept + 1), PAGES(200), "regrown");
}

static byte *chunk[8];
static void realloc_setup(void) {
  for (size_t i = 0; i < 8; i++) fill(chunk[i] = malloc(PAGES(100 + 37 * i)), PAGES(100 + 37 * i), 30 + i);
}
static void realloc_check(int generation) {
  for (size_t i = 0; i < 8; i++) {
    size_t length = PAGES(100 + 37 * i);
    same(chunk[i], 0, length, 30 + i, "before");
    byte *place = realloc(chunk[i], length * (generation == 1 ? 8 : 2));
    if (place == NULL) {
      bad("realloc", (long)i);
      continue;
    }
    chunk[i] = place;
    same(chunk[i], 0, length, 30 + i, "after");
    memset(chunk[i] + length, 1, length);
    chunk[i] = realloc(chunk[i], length);
    same(chunk[i], 0, length, 30 + i, "shrunk");
  }
}

static byte *zeroed[40];
static void calloc_setup(void) {
  for (size_t i = 0; i < 40; i++) {
    size_t length = i % 2 == 0 ? PAGES(10) : PAGES(300);
    fill(zeroed[i] = calloc(1, length), length, 50 + i);
  }
}
static void calloc_check(int generation) {
  for (size_t i = 0; i < 40; i++) same(zeroed[i], 0, i % 2 == 0 ? PAGES(10) : PAGES(300), 50 + i, "before");
  for (size_t i = 0; i < 40; i++) free(zeroed[i]);
  for (size_t i = 0; i < 40; i++) {
    size_t length = i % 3 == 0 ? PAGES(300) : PAGES(11);
    byte *place = calloc(1, length);
    empty(place, 0, length, "calloc");
    memset(place, 1, length);
    zeroed[i] = place;
  }
  for (size_t i = 0; i < 40; i++) free(zeroed[i]);
  calloc_setup();
  (void)generation;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static int asked, answered;
static void *thread_main(void *nothing) {
  uint64_t frame[PAGES(32) / 8];
  byte *own = malloc(PAGES(20));
  fill(frame, sizeof frame, 24);
  fill(own, PAGES(20), 25);
  pthread_mutex_lock(&lock);
  for (;;) {
    while (answered == asked) pthread_cond_wait(&turn, &lock);
    same(frame, 0, sizeof frame, 24, "a thread's stack");
    same(own, 0, PAGES(20), 25, "a thread's arena");
    answered = asked;
    pthread_cond_broadcast(&turn);
  }
  return nothing;
}
static void thread_setup(void) {
  pthread_t thread;
  need(pthread_create(&thread, NULL, thread_main, NULL) == 0, "pthread_create");
}
static void thread_check(int generation) {
  pthread_mutex_lock(&lock);
  asked = generation;
  pthread_cond_broadcast(&turn);
  while (answered != asked) pthread_cond_wait(&turn, &lock);
  pthread_mutex_unlock(&lock);
}

static byte *file;
static void file_setup(void) {
  char path[] = "./hazards-file-XXXXXX";
  static byte page[PAGE];
  int fd = mkstemp(path);
  for (int i = 0; i < 64; i++) {
    memset(page, i + 1, PAGE);
    need(write(fd, page, PAGE) == (ssize_t)PAGE, "write");
  }
  file = mmap(NULL, PAGES(64), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  close(fd);
  fill(file + PAGES(10), PAGES(20), 26);
}
static void file_check(int generation) {
  same(file + PAGES(10), 0, PAGES(20), 26, "written pages");
  for (size_t i = 0; i < 64; i++)
    if (i < 10 || i >= 30) need(file[PAGES(i)] == i + 1 && file[PAGES(i) + PAGE - 1] == i + 1, "pages of the file");
  if (generation == 2) {
    // A private file mapping shows the file again: that is what the kernel promises here.
    need(madvise(file + PAGES(10), PAGES(20), MADV_DONTNEED) == 0, "madvise");
  }
}

// ---- all of them ----

static const struct {
  const char *name;
  void (*setup)(void);
  void (*check)(int generation);
} hazards[] = {
    {"stack", NULL, stack_check},
    {"arguments", NULL, arguments_check},
    {"growsdown", grows_setup, grows_check},
    {"locked", locked_setup, locked_check},
    {"wiped", wiped_setup, wiped_check},
    {"huge", huge_setup, huge_check},
    {"shared", shared_setup, shared_check},
    {"executable", code_setup, code_check},
    {"brk", brk_setup, brk_check},
    {"mremap-grow", grow_setup, grow_check},
    {"mremap-move", move_setup, move_check},
    {"mremap-regrow", regrow_setup, regrow_check},
    {"mremap-dontunmap", dontunmap_setup, dontunmap_check},
    {"dontneed", dontneed_setup, dontneed_check},
    {"free", free_setup, free_check},
    {"mprotect", split_setup, split_check},
    {"fork", fork_setup, fork_check},
    {"proc-mem", proc_setup, proc_check},
    {"realloc", realloc_setup, realloc_check},
    {"calloc", calloc_setup, calloc_check},
    {"thread", thread_setup, thread_check},
    {"file", file_setup, file_check},
};

static int is_wanted(const char *name) {
  int n = 0;
  for (char **wanted = arguments + 3; *wanted != NULL; wanted++, n++)
    if (strcmp(*wanted, name) == 0) return 1;
  return n == 0;
}

// The ten lines of docs/protocol.md. Ends the program, which goes on behind it in the restore.
static void checkpoint(const char *to) {
  char line[4096], path[4096];
  const char *directory = getenv("FORKPOINT_DIR");
  if (directory == NULL) exit(2);
  snprintf(path, sizeof path, "%s/request", directory);
  int length = snprintf(line, sizeof line, "{\"v\":1,\"op\":\"checkpoint\",\"pid\":%d,\"to\":\"%s\",\"stop\":true,\"link\":%s}\n",
                        (int)getpid(), to, getenv("HAZARDS_PLAIN") != NULL ? "false" : "true");
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, line, (size_t)length) != length) exit(2);
  close(fd);
  snprintf(path, sizeof path, "%s/outcome", directory);
  fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
  if (fd >= 0) close(fd);
  line[got > 0 ? got : 0] = 0;
  if (strstr(line, "\"restored\"") == NULL) {
    printf("no restore: %s\n", line);
    exit(2);
  }
}

static void check_all(int generation) {
  for (size_t i = 0; i < sizeof hazards / sizeof hazards[0]; i++) {
    current = hazards[i].name;
    errno = 0;
    if (is_wanted(current)) hazards[i].check(generation);
  }
}

int main(int argc, char **argv) {
  static char images[2][1024];
  uint64_t frame[PAGES(64) / 8];
  if (argc < 3) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 0; i < 2; i++) snprintf(images[i], sizeof images[i], "%s", argv[i + 1]);
  arguments = argv;
  fill(stack = (byte *)frame, sizeof frame, 1);
  for (size_t i = 0; i < sizeof hazards / sizeof hazards[0]; i++) {
    current = hazards[i].name;
    if (hazards[i].setup != NULL && is_wanted(current)) hazards[i].setup();
  }
  for (int generation = 1; generation <= 2; generation++) {
    checkpoint(images[generation - 1]);
    check_all(generation);
    if (failures > 0) return 1;
  }
  printf("ok\n");
  return 0;
}
