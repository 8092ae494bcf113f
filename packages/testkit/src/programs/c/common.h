// What all cases share: contents that can be told from anything else, a child that checks, and the request for a checkpoint.
// A case sets something up, and checks it after each of two restores; the second has seen what the first check changed.
#ifndef FORKPOINT_COMMON_H
#define FORKPOINT_COMMON_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES(n) ((n) * PAGE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

typedef unsigned char byte;

struct hazard {
  const char *name;
  void (*setup)(void);
  void (*check)(int generation);
};

extern const struct hazard policy_hazards[], memory_hazards[], allocator_hazards[], kernel_hazards[];
extern const char *current;
extern int failures;
extern char **arguments;
extern byte *stack;

// Reports that the current case went wrong, and where: a page, an index.
void bad(const char *what, long at);
void need(int is_right, const char *what);
// Words that depend on the seed and their place, so that no other page looks alike.
void fill(void *base, size_t length, uint64_t seed);
void same(const void *base, size_t from, size_t to, uint64_t seed, const char *what);
void empty(const void *base, size_t from, size_t to, const char *what);
uint64_t word(uint64_t seed, size_t at);
void *make(size_t length, int prot, int flags);
// Memory whose neighbours in the pages file are not zeros: growing into them would show.
byte *filled(size_t pages, uint64_t seed);
// Runs `work` in a child, which answers by its exit code; 128 and the signal when it was killed.
int in_child(int (*work)(void));
// Whether a file holds a text.
int holds(const char *path, const char *text);

#endif
