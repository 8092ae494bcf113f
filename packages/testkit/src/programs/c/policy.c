// The lines of the linker's policy (packages/linker/src/policy.ts), one case each by the same name.
#include "common.h"
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <time.h>

static size_t deep(int depth) {
  volatile byte frame[4096];
  frame[0] = (byte)depth;
  return depth == 0 ? frame[0] : deep(depth - 1) + frame[0];
}
static void stack_check(int generation) {
  same(stack, 0, PAGES(64), 1, "the stack");
  need(deep(250 * generation) > 0, "depth");
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

static void kernel_check(int generation) {
  const byte *vdso = (const byte *)getauxval(AT_SYSINFO_EHDR);
  struct timespec before, after;
  need(vdso != NULL && memcmp(vdso, "\177ELF", 4) == 0, "the vdso");
  need(clock_gettime(CLOCK_MONOTONIC, &before) == 0 && clock_gettime(CLOCK_MONOTONIC, &after) == 0, "clock_gettime");
  need(after.tv_sec > before.tv_sec || (after.tv_sec == before.tv_sec && after.tv_nsec >= before.tv_nsec), "the clock runs");
  (void)generation;
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
static byte *guarded;
static int has_guards;
static void guard_setup(void) {
  guarded = filled(64, 7);
  has_guards = madvise(guarded + PAGES(20), PAGES(4), MADV_GUARD_INSTALL) == 0; // EINVAL before Linux 6.13
}
static int guard_child(void) { return guarded[PAGES(21)]; }
static void guard_check(int generation) {
  same(guarded, 0, PAGES(20), 7, "before it");
  same(guarded, PAGES(24), PAGES(64), 7, "behind it");
  if (!has_guards) return;
  need(in_child(guard_child) == 128 + SIGSEGV, "still a guard");
  // One more on memory that may be linked, and off again: nothing is left of what was there.
  size_t at = generation == 1 ? 30 : 40;
  need(madvise(guarded + PAGES(at), PAGES(4), MADV_GUARD_INSTALL) == 0, "install");
  need(madvise(guarded + PAGES(at), PAGES(4), MADV_GUARD_REMOVE) == 0, "remove");
  empty(guarded, PAGES(at), PAGES(at + 4), "below the guard");
  fill(guarded, PAGES(20), 7);
  for (size_t i = PAGES(24) / 8; i < PAGES(64) / 8; i++) ((uint64_t *)guarded)[i] = word(7, i);
}

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
static byte *droppable;
static void droppable_setup(void) {
  droppable = mmap(NULL, PAGES(16), PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
  if (droppable == MAP_FAILED) droppable = make(PAGES(16), PROT_READ | PROT_WRITE, PRIVATE); // before Linux 6.11
  memset(droppable, 8, PAGES(16));
}
static void droppable_check(int generation) {
  // The kernel may have taken any page, and CRIU keeps none: the old content or zeros.
  for (size_t i = 0; i < PAGES(16); i += PAGE) need(droppable[i] == 8 || droppable[i] == 0, "content or zeros");
  memset(droppable, 8, PAGES(16));
  need(droppable[PAGES(16) - 1] == 8 || droppable[PAGES(16) - 1] == 0, "written");
  (void)generation;
}

// Moves the arguments into memory of its own, as programs do that show longer titles.
static char *title;
static void moved_setup(void) {
  struct prctl_mm_map map = {0};
  char line[4096], *field;
  title = (char *)filled(32, 9);
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  ssize_t got = read(fd, line, sizeof line - 1);
  close(fd);
  line[got > 0 ? got : 0] = 0;
  field = strrchr(line, ')');
  uint64_t values[52] = {0};
  char *saved = NULL, *next = strtok_r(field + 2, " ", &saved);
  for (int i = 3; next != NULL && i < 52; i++, next = strtok_r(NULL, " ", &saved)) values[i] = strtoull(next, NULL, 10);
  map.start_code = values[26], map.end_code = values[27], map.start_stack = values[28];
  map.start_data = values[45], map.end_data = values[46], map.start_brk = values[47], map.brk = (uint64_t)sbrk(0);
  map.env_start = values[50], map.env_end = values[51];
  map.arg_start = (uint64_t)title, map.arg_end = map.arg_start + PAGES(2);
  map.exe_fd = (uint32_t)-1;
  strcpy(title, "a title of the first generation");
  need(prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) == 0, "prctl");
}
static void moved_check(int generation) {
  need(holds("/proc/self/cmdline", generation == 1 ? "a title of the first" : "a title of the second"), "/proc/self/cmdline");
  same(title, PAGES(2), PAGES(32), 9, "behind it");
  strcpy(title, "a title of the second generation");
  need(holds("/proc/self/cmdline", "a title of the second"), "a changed title");
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
  fill(file + PAGES(10), PAGES(40), 26);
}
static void file_check(int generation) {
  size_t kept = generation == 1 ? 10 : 30;
  same(file + PAGES(10), PAGES(kept - 10), PAGES(40), 26, "written pages");
  for (size_t i = 0; i < 64; i++)
    if (i < kept || i >= 50) need(file[PAGES(i)] == i + 1 && file[PAGES(i) + PAGE - 1] == i + 1, "pages of the file");
  // A private file mapping shows the file again: that is what the kernel promises here.
  need(madvise(file + PAGES(kept), PAGES(20), MADV_DONTNEED) == 0, "madvise");
  for (size_t i = kept; i < kept + 20; i++) need(file[PAGES(i)] == i + 1 && file[PAGES(i) + PAGE - 1] == i + 1, "given back");
}

const struct hazard policy_hazards[] = {
    {"kernel", NULL, kernel_check},
    {"guard", guard_setup, guard_check},
    {"shared", shared_setup, shared_check},
    {"stack", NULL, stack_check},
    {"growsdown", grows_setup, grows_check},
    {"title", NULL, arguments_check},
    {"locked", locked_setup, locked_check},
    {"huge", huge_setup, huge_check},
    {"wiped", wiped_setup, wiped_check},
    {"droppable", droppable_setup, droppable_check},
    {"executable", code_setup, code_check},
    {"arguments", moved_setup, moved_check},
    {"file", file_setup, file_check},
    {NULL, NULL, NULL},
};
