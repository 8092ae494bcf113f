// A warm C program: BENCH_MB megabytes, half of them in small allocations (which glibc keeps in [heap]) and half in large
// ones (which it maps). Looks every millisecond whether the FIFO of BENCH_FIFO is there: then it writes its first line,
// then a digest of its memory and the number of its areas, and ends.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (16ul << 20)
#define NODE 240ul

struct node {
  struct node *next;
  uint64_t words[NODE / 8 - 1];
};

static struct node *list;
static uint64_t *block[1024];
static size_t blocks;

static void build(size_t bytes) {
  for (size_t done = 0; done < bytes / 2; done += NODE + 16) {
    struct node *node = malloc(sizeof *node);
    node->next = list;
    for (size_t i = 0; i < sizeof node->words / 8; i++) node->words[i] = done * 2654435761u + i;
    list = node;
  }
  for (size_t done = 0; done < bytes / 2; done += BLOCK) {
    uint64_t *words = malloc(BLOCK);
    for (size_t i = 0; i < BLOCK / 8; i++) words[i] = (done + i) * 2654435761u;
    block[blocks++] = words;
  }
}

// One word of every eleventh node and of every eleventh page: enough to notice a page that is not the right one.
static uint64_t digest(void) {
  uint64_t sum = 0, n = 0;
  for (struct node *node = list; node != NULL; node = node->next)
    if (n++ % 11 == 0) sum = sum * 31 + node->words[3];
  for (size_t i = 0; i < blocks; i++)
    for (size_t word = 0; word < BLOCK / 8; word += 512 * 11) sum = sum * 31 + block[i][word];
  return sum;
}

static int areas(void) {
  char buffer[65536];
  int lines = 0, fd = open("/proc/self/maps", O_RDONLY);
  for (ssize_t count; (count = read(fd, buffer, sizeof buffer)) > 0;)
    for (ssize_t i = 0; i < count; i++) lines += buffer[i] == '\n';
  close(fd);
  return lines;
}

int main(void) {
  static const char first[] = "first callback\n";
  char line[64];
  struct timespec pause = {0, 1000000};
  const char *fifo = getenv("BENCH_FIFO"), *size = getenv("BENCH_MB");
  if (fifo == NULL || size == NULL) return 2;
  build((size_t)atol(size) << 20);
  printf("ready %016lx\n", (unsigned long)digest());
  fflush(stdout);
  int fd;
  while ((fd = open(fifo, O_WRONLY | O_NONBLOCK)) < 0) nanosleep(&pause, NULL);
  if (write(fd, first, sizeof first - 1) < 0) return 1;
  int length = snprintf(line, sizeof line, "digest %016lx %d\n", (unsigned long)digest(), areas());
  return write(fd, line, (size_t)length) == length ? 0 : 1;
}
