// A heap in which every page knows what it should hold. Usage: chain MEGABYTES PERCENT
// SIGUSR1 changes PERCENT of the pages, drawn at random, and says `dirty N`; SIGUSR2 checks all of them and says `right SUM`, or
// names the first page that is wrong. Every millisecond it writes a line into the FIFO named by BENCH_FIFO, if somebody reads.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORDS 512ul

static volatile sig_atomic_t dirty, check;
static void on_signal(int number) {
  if (number == SIGUSR1) dirty = 1;
  else check = 1;
}

static uint64_t *heap;
static uint32_t *version;
static size_t pages;
static uint64_t state = 88172645463325252ull;

static uint64_t draw(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static uint64_t word(size_t page, uint32_t at, size_t i) { return (page * 0x9e3779b97f4a7c15ull) ^ ((uint64_t)at << 33) ^ i; }

static void fill(size_t page) {
  for (size_t i = 0; i < WORDS; i++) heap[page * WORDS + i] = word(page, version[page], i);
}

static void change(double percent) {
  size_t count = (size_t)((double)pages * percent / 100);
  for (size_t i = 0; i < count; i++) {
    size_t page = draw() % pages;
    version[page]++;
    fill(page);
  }
  printf("dirty %zu\n", count);
}

static void check_all(void) {
  uint64_t sum = 0;
  for (size_t page = 0; page < pages; page++) {
    sum = sum * 31 + version[page];
    for (size_t i = 0; i < WORDS; i++)
      if (heap[page * WORDS + i] != word(page, version[page], i)) {
        printf("WRONG page %zu word %zu\n", page, i);
        return;
      }
  }
  printf("right %016llx\n", (unsigned long long)sum);
}

static void tick(const char *fifo) {
  int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, "first callback\n", 15) < 0) perror(fifo);
  close(fd);
}

int main(int count, char **arguments) {
  const char *fifo = getenv("BENCH_FIFO");
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  struct timespec pause = {0, 1000000};
  if (count < 3) return 2;
  pages = (size_t)atol(arguments[1]) << 8;
  heap = malloc(pages * WORDS * 8);
  version = calloc(pages, sizeof *version);
  if (heap == NULL || version == NULL) return 1;
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (size_t page = 0; page < pages; page++) fill(page);
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGUSR2, &action, NULL);
  printf("up\n");
  for (;;) {
    nanosleep(&pause, NULL);
    if (fifo != NULL) tick(fifo);
    if (dirty) {
      dirty = 0;
      change(atof(arguments[2]));
    }
    if (check) {
      check = 0;
      check_all();
    }
  }
}
