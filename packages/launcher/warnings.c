// What a restore warns of before it starts: variables that are changed too late to matter.
#include "restore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A program reads its port when it starts: a variable that is changed afterwards moves no socket. Returns whether it said so.
static int warn_of_port(const struct options *options, const struct run *run, const char *pair) {
  const char *equals = strchr(pair, '='), *port = equals + 1;
  char *end;
  long number = strtol(port, &end, 10);
  if (options->listens > 0 || equals - pair < 4 || strncmp(equals - 4, "PORT", 4) != 0) return 0;
  if (*port == 0 || *end != 0 || number <= 0 || number > 65535) return 0;
  const struct slot *found = NULL;
  for (size_t i = 0; i < run->slots; i++) {
    if (run->slot[i].kind != SLOT_TCP) continue;
    if (atoi(run->slot[i].field[2]) == number) return 1;
    if (found == NULL) found = &run->slot[i];
  }
  if (found == NULL) return 0;
  fprintf(stderr, "Warning: %s does not move the program, which listens on %s already; use --listen %s=%s\n", pair, found->address,
          found->id, port);
  return 1;
}

// FNV-1a of 32 bits, as the library computes it (core/src/environment.ts).
static uint32_t digest(const char *text) {
  uint32_t hash = 0x811c9dc5;
  for (; *text != 0; text++) hash = (hash ^ (unsigned char)*text) * 0x01000193;
  return hash;
}

// The plan lists the variables that the program read while it started, unless it listens for changes.
static void warn_of_read(const struct run *run, const char *pair) {
  const char *equals = strchr(pair, '=');
  size_t length = (size_t)(equals - pair);
  char now[16];
  snprintf(now, sizeof now, "%08x", digest(equals + 1));
  for (size_t i = 0; i < run->plan->count; i++) {
    const struct record *record = &run->plan->record[i];
    if (strcmp(record->key, "read") != 0 || record->count < 2) continue;
    const char *name = record->field[0];
    if (strlen(name) != length || strncmp(name, pair, length) != 0 || strcmp(record->field[1], now) == 0) continue;
    fprintf(stderr, "Warning: the program read %s when it started and may go on with what it made of the old value; see `forkpoint help hooks`\n", name);
  }
}

void warn_of_variables(const struct options *options, const struct run *run) {
  for (size_t i = 0; i < options->envs; i++)
    if (!warn_of_port(options, run, options->env[i])) warn_of_read(run, options->env[i]);
}
