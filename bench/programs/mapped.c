// One private mapping of BENCH_MB megabytes that malloc(3) knows nothing of, every page of it written. Says `up` and waits.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void) {
  const char *megabytes = getenv("BENCH_MB");
  size_t bytes = (megabytes == NULL ? 16 : strtoul(megabytes, NULL, 10)) << 20;
  uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (words == MAP_FAILED) return 1;
  for (size_t i = 0; i < bytes / 8; i++) words[i] = i * 0x9e3779b97f4a7c15ull;
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
