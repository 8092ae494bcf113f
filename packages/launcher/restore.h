// What the restore command's two files share.
#ifndef FORKPOINT_RESTORE_H
#define FORKPOINT_RESTORE_H

#include "launcher.h"

#define OPTIONS_MAX 256

struct options {
  const char *image, *name, *to, *cwd, *main;
  const char *env[OPTIONS_MAX], *listen[OPTIONS_MAX], *file[OPTIONS_MAX], *property[OPTIONS_MAX];
  size_t envs, listens, files, properties;
  char **args;
  int detach, json, no_reseed;
  long timeout_ms;
  char **all;
};

// Hands over to the command line, which explains the reason.
void explain(const struct options *options, const char *reason, const char *detail) __attribute__((noreturn));

// Returns a path as an absolute one.
char *absolute(const char *path);

// slots.c
void read_slots(const struct options *options, struct run *run);
void open_sockets(const struct options *options, struct run *run);
void check_file_slots(const struct options *options, struct run *run);

// warnings.c
void warn_of_variables(const struct options *options, const struct run *run);

#endif
