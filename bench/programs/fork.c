// fork(2), the floor: COUNT children of a process with MB megabytes of memory, each of which answers on a pipe. Prints microseconds.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments) {
  int children = count > 1 ? atoi(arguments[1]) : 3, ends[2];
  size_t size = (size_t)(count > 2 ? atoi(arguments[2]) : 64) << 20;
  char *memory = malloc(size), byte = 0;
  struct timespec from, to;
  if (memory == NULL || pipe(ends) != 0) return 1;
  memset(memory, 1, size);
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int i = 0; i < children; i++) {
    if (fork() != 0) continue;
    memory[0]++;
    _exit(write(ends[1], memory, 1) == 1 ? 0 : 1);
  }
  for (int i = 0; i < children; i++)
    if (read(ends[0], &byte, 1) != 1) return 1;
  clock_gettime(CLOCK_MONOTONIC, &to);
  while (wait(NULL) > 0) continue;
  printf("%.0f\n", (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3);
  return 0;
}
