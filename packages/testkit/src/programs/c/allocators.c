// What allocators promise, whichever one is loaded: content that stays, zeros from calloc(3), chunks that grow.
#include "common.h"
#include <malloc.h>

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

static const size_t alignments[6] = {64, 256, 4096, 16384, 65536, 1 << 20};
static byte *aligned[6];
static void aligned_setup(void) {
  for (size_t i = 0; i < 6; i++) {
    void *place = NULL;
    need(posix_memalign(&place, alignments[i], PAGES(200)) == 0, "posix_memalign");
    fill(aligned[i] = place, PAGES(200), 70 + i);
  }
}
static void aligned_check(int generation) {
  for (size_t i = 0; i < 6; i++) {
    same(aligned[i], 0, PAGES(200), 70 + i, "before");
    byte *place = realloc(aligned[i], PAGES(200) * (generation == 1 ? 6 : 3));
    if (place == NULL) {
      bad("realloc", (long)i);
      continue;
    }
    same(place, 0, PAGES(200), 70 + i, "after");
    memset(place + PAGES(200), 1, PAGES(200));
    free(place);
    void *again = NULL;
    need(posix_memalign(&again, alignments[i], PAGES(200)) == 0, "posix_memalign");
    fill(aligned[i] = again, PAGES(200), 70 + i);
  }
}

// Blocks of all sizes that come and go, over threads: what was given back is used again.
enum { BLOCKS = 600 };
static struct {
  byte *at;
  size_t length;
} blocks[BLOCKS];
static uint64_t state = 12345;
static size_t chance(size_t below) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (size_t)(state >> 33) % below;
}
static size_t some_length(void) {
  static const size_t scales[] = {64, 512, 4096, 20000, 200000, 3000000};
  return 8 * (1 + chance(scales[chance(chance(4) == 0 ? 6 : 4)] / 8));
}
static void take(size_t i) {
  size_t length = some_length();
  void *place = NULL;
  switch (chance(3)) {
  case 0: place = malloc(length); break;
  case 1:
    place = calloc(1, length);
    empty(place, 0, length, "calloc");
    break;
  default: need(posix_memalign(&place, (size_t)64 << chance(8), length) == 0, "posix_memalign");
  }
  blocks[i].at = place, blocks[i].length = length;
  fill(place, length, 1000 + i);
}
static void churn_setup(void) {
  for (size_t i = 0; i < BLOCKS; i++) take(i);
}
static void *churn_rounds(void *rounds) {
  for (size_t n = 0; n < (size_t)rounds; n++) {
    size_t i = chance(BLOCKS);
    same(blocks[i].at, 0, blocks[i].length, 1000 + i, "content");
    if (chance(3) == 0) {
      size_t length = some_length(), kept = length < blocks[i].length ? length : blocks[i].length;
      byte *place = realloc(blocks[i].at, length);
      same(place, 0, kept, 1000 + i, "after realloc");
      blocks[i].at = place, blocks[i].length = length;
      fill(place, length, 1000 + i);
    } else {
      free(blocks[i].at);
      take(i);
    }
  }
  return NULL;
}
static void churn_check(int generation) {
  pthread_t thread;
  for (size_t i = 0; i < BLOCKS; i++) same(blocks[i].at, 0, blocks[i].length, 1000 + i, "before");
  churn_rounds((void *)2000ul);
  // From another thread, whose arena or cache is another one.
  need(pthread_create(&thread, NULL, churn_rounds, (void *)2000ul) == 0 && pthread_join(thread, NULL) == 0, "thread");
  for (size_t i = generation; i < BLOCKS; i += 2) free(blocks[i].at);
  malloc_trim(0);
  for (size_t i = generation; i < BLOCKS; i += 2) take(i);
  for (size_t i = 0; i < BLOCKS; i++) same(blocks[i].at, 0, blocks[i].length, 1000 + i, "after");
}

// A mapped chunk right behind a mapping of the program's own: the kernel makes one area of both, in which the chunk begins
// anywhere.
static byte *own, *behind;
static void joined_setup(void) {
  behind = malloc(PAGES(200));
  byte *wanted = behind - 16 - PAGES(900);
  own = mmap(wanted, PAGES(900), PROT_READ | PROT_WRITE, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0);
  if (own == MAP_FAILED) own = make(PAGES(900), PROT_READ | PROT_WRITE, PRIVATE);
  fill(own, PAGES(900), 81);
  fill(behind, PAGES(200), 82);
}
static void joined_check(int generation) {
  same(own, 0, PAGES(900), 81, "own");
  same(behind, 0, PAGES(200), 82, "before");
  // Far beyond the end of any page file.
  size_t more = PAGES(generation == 1 ? 60000 : 90000);
  byte *place = realloc(behind, more);
  need(place != NULL, "realloc");
  if (place == NULL) return;
  same(place, 0, PAGES(200), 82, "after");
  place[more / 2] = place[more - 1] = 1;
  need(munmap(own, PAGES(900)) == 0, "munmap");
  free(place);
  joined_setup();
}

const struct hazard allocator_hazards[] = {
    {"joined", joined_setup, joined_check},
    {"realloc", realloc_setup, realloc_check},
    {"aligned", aligned_setup, aligned_check},
    {"calloc", calloc_setup, calloc_check},
    {"churn", churn_setup, churn_check},
    {NULL, NULL, NULL},
};
