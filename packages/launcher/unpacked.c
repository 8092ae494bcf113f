// A compressed image lies unpacked in the cache, whence CRIU reads it and its memory is mapped: once for all restores of it.
// When it does not lie there yet, the Node command line unpacks it, as a child, so that no Node process stays behind.
#include "restore.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// Returns whether the directory is there, and marks it as used, so that `forkpoint gc` leaves it.
static int is_there(const char *directory) {
  struct stat status;
  if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode)) return 0;
  utimensat(AT_FDCWD, directory, NULL, 0);
  return 1;
}

static void unpack(const char *image) {
  const char *node = getenv("FORKPOINT_NODE"), *library = getenv("FORKPOINT_LIB");
  if (node == NULL || *node == 0) node = "node";
  char *argv[] = {(char *)node, library != NULL ? join(library, "/dist/cli.cjs", NULL) : NULL, (char *)"unpack", (char *)image, NULL};
  pid_t pid = fork();
  if (pid == 0) {
    // What it prints for programs has no place among what a restore prints.
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nothing >= 0) dup2(nothing, 1);
    if (argv[1] != NULL) execvp(node, argv);
    _exit(EXIT_OURS);
  }
  int status;
  if (pid > 0) waitpid(pid, &status, 0);
}

void use_unpacked(const struct options *options, struct run *run) {
  const char *key = plan_text(run->plan, "unpacked", 0);
  if (key == NULL) return;
  if (key[0] == '.' || key[0] == 0 || strchr(key, '/') != NULL) explain(options, "plan", "unpacked");
  char *directory = join(run->home, "/cache/unpacked/", key, NULL);
  if (!is_there(directory)) {
    unpack(run->image);
    if (!is_there(directory)) explain(options, "unpack", run->image);
  }
  close(run->image_fd);
  run->image_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (run->image_fd < 0) explain(options, "unpack", run->image);
}
