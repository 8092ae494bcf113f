// What an allocator asks of the kernel, and nothing else: MOVES rounds in which mapped memory is written, given back (madvise),
// split (mprotect), grown and shrunk (mremap). Says how many nanoseconds a round took of the processor.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul

int main(void) {
  const char *moves = getenv("MOVES");
  long rounds = moves == NULL ? 20000 : atol(moves);
  struct timespec from, to, pause = {0, 1000000};
  // Under a checkpoint: it is restored before it begins.
  const char *start = getenv("MOVES_START");
  if (start != NULL) puts("up"), fflush(stdout);
  while (start != NULL && access(start, F_OK) != 0) nanosleep(&pause, NULL);
  char *memory = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
  for (long i = 0; i < rounds; i++) {
    for (size_t page = 0; page < 16; page++) memory[page * PAGE] = (char)i;
    if (madvise(memory, 16 * PAGE, MADV_DONTNEED) != 0) return 2;
    if (mprotect(memory + 32 * PAGE, PAGE, PROT_READ) != 0) return 3;
    if (mprotect(memory + 32 * PAGE, PAGE, PROT_READ | PROT_WRITE) != 0) return 4;
    if ((memory = mremap(memory, 64 * PAGE, 128 * PAGE, MREMAP_MAYMOVE)) == MAP_FAILED) return 5;
    if (mremap(memory, 128 * PAGE, 64 * PAGE, 0) != memory) return 6;
  }
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
  printf("%.1f\n", ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / (double)rounds);
  return 0;
}
