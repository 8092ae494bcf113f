// What linking must not disturb: the lines of the linker's policy, what programs do to memory, what the kernel keeps for them.
// Usage: hazards IMAGE1 IMAGE2 [NAME...]
// Sets all cases up, asks for a checkpoint by the ten-line protocol and ends with it. Restored, it checks each of them and
// changes its memory, asks again, and restored once more checks the rest. Prints `bad NAME: WHAT` for each failure, `ok` at the end.
#include "common.h"

const char *current = "-";
int failures;
char **arguments;
byte *stack;

void bad(const char *what, long at) {
  printf("bad %s: %s (%ld, errno %d)\n", current, what, at, errno);
  failures++;
}

void need(int is_right, const char *what) {
  if (!is_right) bad(what, 0);
}

uint64_t word(uint64_t seed, size_t at) { return (seed << 40) ^ (at * 0x9e3779b97f4a7c15ull) ^ 0x5851f42d4c957f2dull; }

void fill(void *base, size_t length, uint64_t seed) {
  uint64_t *words = base;
  for (size_t i = 0; i < length / 8; i++) words[i] = word(seed, i);
}

void same(const void *base, size_t from, size_t to, uint64_t seed, const char *what) {
  const uint64_t *words = base;
  for (size_t i = from / 8; i < to / 8; i++)
    if (words[i] != word(seed, i)) {
      bad(what, (long)(i * 8 / PAGE));
      return;
    }
}

void empty(const void *base, size_t from, size_t to, const char *what) {
  const uint64_t *words = base;
  for (size_t i = from / 8; i < to / 8; i++)
    if (words[i] != 0) {
      bad(what, (long)(i * 8 / PAGE));
      return;
    }
}

void *make(size_t length, int prot, int flags) {
  void *place = mmap(NULL, length, prot, flags, -1, 0);
  if (place == MAP_FAILED) {
    perror(current);
    exit(2);
  }
  return place;
}

byte *filled(size_t pages, uint64_t seed) {
  byte *place = make(PAGES(pages), PROT_READ | PROT_WRITE, PRIVATE);
  fill(place, PAGES(pages), seed);
  return place;
}

int in_child(int (*work)(void)) {
  int status = -1;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(work());
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int holds(const char *path, const char *text) {
  static char buffer[65536];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
  if (fd >= 0) close(fd);
  return got > 0 && memmem(buffer, (size_t)got, text, strlen(text)) != NULL;
}

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

static const struct hazard *const tables[] = {policy_hazards, memory_hazards, allocator_hazards, kernel_hazards};

static void each(int generation) {
  for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
    for (const struct hazard *hazard = tables[t]; hazard->name != NULL; hazard++) {
      current = hazard->name;
      errno = 0;
      if (!is_wanted(current)) continue;
      if (generation > 0) hazard->check(generation);
      else if (hazard->setup != NULL) hazard->setup();
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
  each(0);
  for (int generation = 1; generation <= 2; generation++) {
    if (failures > 0) return 1;
    checkpoint(images[generation - 1]);
    each(generation);
  }
  if (failures > 0) return 1;
  printf("ok\n");
  return 0;
}
