// What programs and their allocators do to memory, which may be linked by then.
#include "common.h"
#include <sys/syscall.h>
#include <sys/uio.h>

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

// More places than the shim has room to note.
static byte *often[24];
static void often_setup(void) {
  for (size_t i = 0; i < 24; i++) often[i] = filled(12, 100 + i);
}
static void often_check(int generation) {
  for (size_t i = 0; i < 24; i++) {
    byte *target = make(PAGES(14), PROT_NONE, PRIVATE);
    byte *place = mremap(often[i], PAGES(12), PAGES(12), MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGES(1));
    need(place == target + PAGES(1), "mremap to a fixed place");
    if (place != target + PAGES(1)) return;
    often[i] = place;
  }
  for (size_t i = 0; i < 24; i++) {
    same(often[i], 0, PAGES(generation == 1 ? 12 : 8), 100 + i, "moved");
    need(madvise(often[i] + PAGES(8), PAGES(4), MADV_DONTNEED) == 0, "dontneed");
    empty(often[i], PAGES(8), PAGES(12), "given back");
  }
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

// A range with a hole: the kernel gives back what there is and answers ENOMEM.
static byte *holed;
static void hole_setup(void) { holed = filled(100, 60); }
static void hole_check(int generation) {
  size_t from = generation == 1 ? 10 : 50;
  need(munmap(holed + PAGES(from + 10), PAGES(2)) == 0, "munmap");
  errno = 0;
  need(madvise(holed + PAGES(from), PAGES(20), MADV_DONTNEED) == -1 && errno == ENOMEM, "ENOMEM");
  empty(holed, PAGES(from), PAGES(from + 10), "before the hole");
  empty(holed, PAGES(from + 12), PAGES(from + 20), "behind the hole");
  same(holed, PAGES(from + 20), PAGES(from + 30), 60, "behind it");
  errno = 0;
}

// The same calls by number.
static byte *raw;
static void raw_setup(void) { raw = filled(100, 61); }
static void raw_check(int generation) {
  size_t from = generation == 1 ? 10 : 50;
  need(syscall(SYS_madvise, raw + PAGES(from), PAGES(20), (long)MADV_DONTNEED) == 0, "madvise");
  empty(raw, PAGES(from), PAGES(from + 20), "given back");
  errno = 0;
  need(syscall(SYS_madvise, raw + 1, PAGE, (long)MADV_DONTNEED) == -1L && errno == EINVAL, "an error is an error");
  errno = 0;
  size_t before = generation == 1 ? 100 : 150;
  long place = syscall(SYS_mremap, raw, PAGES(before), PAGES(before + 50), (long)MREMAP_MAYMOVE, NULL);
  need(place > 0, "mremap");
  if (place <= 0) return;
  raw = (byte *)place;
  empty(raw, PAGES(before), PAGES(before + 50), "grown");
  same(raw, PAGES(90), PAGES(100), 61, "after");
}

// Given back in the middle, then grown: what was one area is several by then.
static byte *patched;
static void patch_setup(void) { patched = filled(120, 62); }
static void patch_check(int generation) {
  size_t pages = generation == 1 ? 120 : 160;
  for (size_t at = 10; at < 100; at += 20) need(madvise(patched + PAGES(at), PAGES(9), MADV_DONTNEED) == 0, "madvise");
  for (size_t at = 0; at < 120; at += 10) patched[PAGES(at) + 8] = 5;
  byte *place = mremap(patched, PAGES(pages), PAGES(pages + 40), MREMAP_MAYMOVE);
  need(place != MAP_FAILED, "mremap");
  if (place == MAP_FAILED) return;
  patched = place;
  for (size_t at = 10; at < 100; at += 20) {
    same(patched, PAGES(at + 11), PAGES(at + 19), 62, "kept");
    empty(patched, PAGES(at + 1), PAGES(at + 9), "given back");
  }
  empty(patched, PAGES(pages), PAGES(pages + 40), "grown");
}

// Wiped in children, and executable, only after the restore.
static byte *later, *jitted;
static void later_setup(void) {
  later = filled(32, 63);
  jitted = make(PAGES(32), PROT_READ | PROT_WRITE, PRIVATE);
  for (size_t i = 0; i < PAGES(32); i += PAGE) memcpy(jitted + i, "\xb8\x2a\x00\x00\x00\xc3", 6);
}
static int later_child(void) {
  for (size_t i = 8; i < 16; i++)
    if (later[PAGES(i)] != 0) return 1;
  return memcmp(later, (uint64_t[]){word(63, 0)}, 8) == 0 ? 0 : 2;
}
static void later_check(int generation) {
  same(later, 0, PAGES(32), 63, "content");
  if (generation == 1) need(madvise(later + PAGES(8), PAGES(8), MADV_WIPEONFORK) == 0, "madvise");
  need(in_child(later_child) == 0, "wiped in the child");
  same(later, 0, PAGES(32), 63, "the parent's");
  need(mprotect(jitted, PAGES(32), PROT_READ | PROT_EXEC) == 0, "mprotect");
  for (size_t i = 0; i < PAGES(32); i += PAGE) {
    int (*function)(void);
    void *at = jitted + i;
    memcpy(&function, &at, sizeof at);
    need(function() == 42, "code runs");
  }
  need(mprotect(jitted, PAGES(32), PROT_READ | PROT_WRITE) == 0, "back");
}

static byte *relocked;
static void relock_setup(void) { relocked = filled(64, 64); }
static void relock_check(int generation) {
  same(relocked, 0, PAGES(64), 64, "before");
  need(mlock(relocked + PAGES(8), PAGES(8)) == 0, "mlock");
  same(relocked, 0, PAGES(64), 64, "locked");
  need(munlock(relocked + PAGES(8), PAGES(8)) == 0, "munlock");
  fill(relocked, PAGES(64), 64);
  (void)generation;
}

const struct hazard memory_hazards[] = {
    {"brk", brk_setup, brk_check},
    {"mremap-grow", grow_setup, grow_check},
    {"mremap-move", move_setup, move_check},
    {"mremap-often", often_setup, often_check},
    {"mremap-regrow", regrow_setup, regrow_check},
    {"mremap-dontunmap", dontunmap_setup, dontunmap_check},
    {"mremap-patched", patch_setup, patch_check},
    {"dontneed", dontneed_setup, dontneed_check},
    {"dontneed-hole", hole_setup, hole_check},
    {"by-number", raw_setup, raw_check},
    {"free", free_setup, free_check},
    {"mprotect", split_setup, split_check},
    {"mlock", relock_setup, relock_check},
    {"later", later_setup, later_check},
    {"fork", fork_setup, fork_check},
    {"proc-mem", proc_setup, proc_check},
    {"thread", thread_setup, thread_check},
    {NULL, NULL, NULL},
};
