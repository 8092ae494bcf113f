// What the restore command's two files share.
#ifndef FORKPOINT_RESTORE_H
#define FORKPOINT_RESTORE_H

#include "launcher.h"

#define OPTIONS_MAX 256
// The newest format of a manifest (packages/manifest/src/manifest.ts, FORMAT_VERSION).
#define FORMAT_NEWEST 2

struct options {
  const char *image, *name, *to, *cwd, *main;
  const char *env[OPTIONS_MAX], *listen[OPTIONS_MAX], *file[OPTIONS_MAX], *property[OPTIONS_MAX];
  size_t envs, listens, files, properties;
  char **args;
  int detach, json, no_reseed, no_prefetch;
  long timeout_ms;
  char **all;
};

// Hands over to the command line, which explains the reason.
void explain(const struct options *options, const char *reason, const char *detail) __attribute__((noreturn));

// Restores an image as a child; `arguments` are those of `forkpoint restore`.
int restore_child(struct run *run, char **arguments);

// Returns a path as an absolute one.
char *absolute(const char *path);

// unpacked.c: lets `image_fd` of the run be the directory where a compressed image lies unpacked.
void use_unpacked(const struct options *options, struct run *run);

// Returns the path of a file of the image, by way of its directory's descriptor; `name` begins with a slash.
char *of_image(const struct run *run, const char *name);

// layers.c
void check_code(const struct options *options, const struct run *run);
void link_layers(const struct options *options, struct run *run);
void read_ahead(const struct run *run);

// slots.c
void read_slots(const struct options *options, struct run *run);
void open_sockets(const struct options *options, struct run *run);
void check_file_slots(const struct options *options, struct run *run);

// warnings.c
void warn_of_variables(const struct options *options, const struct run *run);

#endif
