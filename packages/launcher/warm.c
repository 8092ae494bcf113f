// `launcher warm`: a command line that starts from an image of itself when everything the image was made from is as it was, and
// as usual when anything differs or is in doubt (docs/warm.md). Nothing here may change what the user sees: every way out is
// either the restored program or the command itself, with the arguments, the environment and the streams that were given.
#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

// Longer argument vectors and environments start cold: the program would read them from a file first.
#define GIVEN_MAX (4u << 20)
// A new image is begun at most this often for one directory and kind of streams, in seconds.
#define REFRESH_EVERY 10

static const char *place, *name;  // `warm/` in the data directory; the command's name
static char **typed;              // what follows the name
static char variant[4];           // which of the three streams are terminals: `000` to `111`

// ---- the ordinary start ----

char **cold_command;
static pid_t cold_pid;
static const char *cold_run;

static void tell(const char *reason, const char *detail) {
  const char *wanted = getenv("FORKPOINT_WARM_DEBUG");
  if (wanted != NULL && *wanted != 0) fprintf(stderr, "forkpoint warm: %s starts cold: %s%s%s\n", name, reason, detail != NULL ? ": " : "", detail != NULL ? detail : "");
}

// Starts the command as if there were no image. A process of the pod's making only ends: the outer one comes here itself.
void cold_start(const char *reason, const char *detail) {
  sigset_t none;
  if (getpid() != cold_pid) _exit(EXIT_OURS);
  if (cold_run != NULL) remove_tree(cold_run);
  tell(reason, detail);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  execvp(cold_command[0], cold_command);
  int code = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
  fprintf(stderr, "Error: %s cannot be executed: %s\n", cold_command[0], strerror(errno));
  exit(code);
}

// A run that has come to nothing leaves no directory.
void cold_forget(const char *run_directory) {
  cold_run = run_directory;
}

// Sets what an ordinary start is: these words, then what was typed.
static void arm(char **words, size_t count) {
  size_t more = 0;
  while (typed[more] != NULL) more++;
  cold_command = must(calloc(count + more + 1, sizeof *cold_command));
  memcpy(cold_command, words, count * sizeof *words);
  memcpy(cold_command + count, typed, more * sizeof *typed);
  cold_pid = getpid();
}

// ---- the image of this directory ----

// FNV-1a of 64 bits, as packages/supervisor/src/warm/places.ts computes it.
static uint64_t digest(const char *text, size_t length) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
  return hash;
}

static char *read_plan(const char *path, const char *kind, struct plan *plan) {
  size_t length;
  char *bytes = read_file(path, 64u << 20, &length);
  if (bytes == NULL || plan_parse(bytes, length, plan, NULL) != 0) return NULL;
  const char *found = plan_text(plan, "forkpoint-plan", 0), *version = plan_text(plan, "forkpoint-plan", 1);
  return found != NULL && version != NULL && strcmp(found, kind) == 0 && strcmp(version, "1") == 0 ? bytes : NULL;
}

// Looks from the working directory upwards for a project that has this command warmed. Returns its directory in the data
// directory, and the length of the project's own path in `root`.
static char *find_project(const char *cwd, size_t *root) {
  struct stat status;
  for (size_t length = strlen(cwd); length > 0;) {
    char hash[32];
    snprintf(hash, sizeof hash, "/%016llx", (unsigned long long)digest(cwd, length));
    char *path = join(place, "/", name, hash, NULL);
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
      *root = length;
      return path;
    }
    free(path);
    while (length > 0 && cwd[--length] != '/') continue;
  }
  return NULL;
}

// Whether a directory between the project and the working directory has the command installed for itself.
static int is_shadowed(const char *cwd, size_t root, const char *bin) {
  for (size_t length = strlen(cwd); length > root;) {
    char *own = join("", NULL), *path;
    free(own);
    own = must(strndup(cwd, length));
    path = join(own, "/node_modules/.bin/", bin, NULL);
    int there = access(path, F_OK) == 0;
    free(own);
    free(path);
    if (there) return 1;
    while (length > 0 && cwd[--length] != '/') continue;
  }
  return 0;
}

// ---- is everything as it was? ----

// What a path is, in the words of packages/supervisor/src/warm/stamp.ts.
static void stamp(const char *kind, const char *path, char out[160]) {
  struct stat s;
  int is_link = kind[0] == 'l';
  if ((is_link ? lstat(path, &s) : stat(path, &s)) != 0) strcpy(out, errno == ENOENT || errno == ENOTDIR ? "-" : "?");
  else if (S_ISDIR(s.st_mode) && kind[0] != 'd') snprintf(out, 160, "d.%llx.%llx", (unsigned long long)s.st_dev, (unsigned long long)s.st_ino);
  else
    snprintf(out, 160, "%x.%llx.%llx.%llx.%llx.%lx.%llx.%lx", s.st_mode, (unsigned long long)s.st_dev, (unsigned long long)s.st_ino,
             S_ISDIR(s.st_mode) ? 0ull : (unsigned long long)s.st_size, (unsigned long long)s.st_mtim.tv_sec, (unsigned long)s.st_mtim.tv_nsec,
             (unsigned long long)s.st_ctim.tv_sec, (unsigned long)s.st_ctim.tv_nsec);
}

static int compare_text(const void *one, const void *other) {
  return strcmp(*(char *const *)one, *(char *const *)other);
}

// A digest of all variables whose names begin like this, in their order.
static void digest_of_prefix(const char *prefix, char out[32]) {
  static char *pairs[4096];
  size_t count = 0, length = strlen(prefix);
  uint64_t hash = 0xcbf29ce484222325u;
  for (char **at = environ; *at != NULL && count < 4096; at++)
    if (strncmp(*at, prefix, length) == 0) pairs[count++] = *at;
  qsort(pairs, count, sizeof *pairs, compare_text);
  for (size_t i = 0; i < count; i++)
    for (const char *c = pairs[i];; c++) {
      hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
      if (*c == 0) break;
    }
  snprintf(out, 32, "%016llx", (unsigned long long)hash);
}

static void digest_of_limits(char out[32]) {
  struct text text = {0};
  for (int i = 0; i < 16; i++) {
    struct rlimit limit;
    if (getrlimit(i, &limit) != 0) continue;
    // Node raises the soft limit of descriptors when it starts.
    if (i == RLIMIT_NOFILE) limit.rlim_cur = limit.rlim_max;
    text_print(&text, "%d %llx %llx\n", i, (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
  }
  snprintf(out, 32, "%016llx", (unsigned long long)digest(text.bytes, text.length));
  free(text.bytes);
}

// The file that execvp(3) would take for the interpreter of the command's first line.
static char *find_node(void) {
  const char *path = getenv("PATH");
  if (path == NULL) return NULL;
  for (const char *at = path; *at != 0;) {
    size_t length = strcspn(at, ":");
    char *directory = must(strndup(at, length)), *file = join(directory, "/node", NULL), *real = NULL;
    if (length > 0 && access(file, X_OK) == 0) real = realpath(file, NULL);
    free(directory);
    free(file);
    if (real != NULL) return real;
    at += length + (at[length] == ':');
  }
  return NULL;
}

// Returns what differs, or NULL; `detail` says more. Cheap things first: a stale image is common after an upgrade.
static const char *difference(const struct plan *plan, const char **detail, int *is_stale) {
  static char now[160];
  const char *node = plan_text(plan, "node", 0), *limits = plan_text(plan, "limits", 0);
  *is_stale = 0;
  if (plan_text(plan, "search", 0) != NULL) {
    char *found = find_node();
    *detail = found;
    if (found == NULL || node == NULL || strcmp(found, node) != 0) return "another node comes first on PATH";
  }
  digest_of_limits(now);
  *detail = NULL;
  if (limits == NULL || strcmp(limits, now) != 0) return "other resource limits";
  for (size_t i = 0; i < plan->count; i++) {
    const struct record *record = &plan->record[i];
    if (record->count < 2) continue;
    *detail = record->field[0];
    if (strcmp(record->key, "env") == 0) {
      const char *value = getenv(record->field[0]);
      if (value == NULL) strcpy(now, "-");
      else snprintf(now, sizeof now, "%016llx", (unsigned long long)digest(value, strlen(value)));
      if (strcmp(now, record->field[1]) != 0) return "another value of a variable that was read";
    } else if (strcmp(record->key, "envs") == 0) {
      digest_of_prefix(record->field[0], now);
      if (strcmp(now, record->field[1]) != 0) return "other variables that begin with";
    }
  }
  *is_stale = 1;
  for (size_t i = 0; i < plan->count; i++) {
    const struct record *record = &plan->record[i];
    if (strcmp(record->key, "seen") != 0 || record->count < 3) continue;
    *detail = record->field[1];
    stamp(record->field[0], record->field[1], now);
    if (strcmp(now, record->field[2]) != 0) return "changed";
  }
  return NULL;
}

// ---- a new image, in the background ----

static void refresh(const char *project, const char *root) {
  const char *wanted = getenv("FORKPOINT_WARM_REFRESH");
  struct plan plan;
  struct stat status;
  if (wanted != NULL && strcmp(wanted, "0") == 0) return;
  char *mark = join(project, "/refresh-", variant, NULL), *command = join(place, "/", name, "/command", NULL);
  if (stat(mark, &status) == 0 && now_ms(CLOCK_REALTIME) / 1000 - status.st_mtim.tv_sec < REFRESH_EVERY) return;
  if (read_plan(command, "warm-command", &plan) == NULL) return;
  const struct record *maker = plan_find(&plan, "maker");
  if (maker == NULL || maker->count == 0) return;
  int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || futimens(fd, NULL) != 0) return;
  close(fd);
  char **argv = must(calloc(maker->count + 5, sizeof *argv));
  memcpy(argv, maker->field, maker->count * sizeof *argv);
  argv[maker->count] = (char *)name;
  argv[maker->count + 1] = (char *)root;
  argv[maker->count + 2] = variant;
  pid_t pid = fork();
  if (pid == 0) {
    // In a session of its own and not our child, so that neither Ctrl-C nor a wait meets it.
    if (fork() != 0) _exit(0);
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++) dup2(null, i);
    if (null > 2) close(null);
    setsid();
    setpriority(PRIO_PROCESS, 0, 10);
    execvp(argv[0], argv);
    _exit(EXIT_NOT_FOUND);
  }
  if (pid > 0) waitpid(pid, NULL, 0);
}

// ---- the command ----

static void add_record(struct text *text, const char *key, char **fields, size_t count) {
  text_print(text, "%s:%zu", key, count);
  text_add(text, "", 1);
  for (size_t i = 0; i < count; i++) text_add(text, fields[i], strlen(fields[i]) + 1);
}

// What the restored program reads before anything else: how it was called.
static struct text given_to_program(char *cwd) {
  struct text text = {0};
  char mask[16], *masks[] = {mask};
  size_t args = 0, envs = 0;
  mode_t mode = umask(0);
  umask(mode);
  snprintf(mask, sizeof mask, "%o", mode);
  while (typed[args] != NULL) args++;
  while (environ[envs] != NULL) envs++;
  add_record(&text, "umask", masks, 1);
  add_record(&text, "cwd", &cwd, 1);
  add_record(&text, "arg", typed, args);
  add_record(&text, "env", environ, envs);
  return text;
}

static size_t size_given(void) {
  size_t size = 0;
  for (char **at = typed; *at != NULL; at++) size += strlen(*at) + 1;
  for (char **at = environ; *at != NULL; at++) size += strlen(*at) + 1;
  return size;
}

// As an ordinary start would have ended; the memory of this process is no part of that.
static void end_by(int number) {
  struct rlimit none = {0};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  setrlimit(RLIMIT_CORE, &none);
  signal(number, SIG_DFL);
  raise(number);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int from_image(const char *home, const char *directory, char *cwd) {
  static struct run run;
  const char *image = join(directory, "/image", NULL);
  struct text given = given_to_program(cwd);
  run.home = home;
  run.given = given.bytes;
  run.given_length = given.length;
  char *arguments[] = {(char *)image, (char *)"--cwd", cwd, NULL};
  int code = restore_warm(&run, arguments);
  if (run.ended_by != 0) end_by(run.ended_by);
  return code;
}

// Of a checking run, made before the image is published, the plan lies at a place of its own and the project is a copy.
static int check(const char *home, const char *directory) {
  struct plan plan;
  char cwd[PATH_MAX];
  if (read_plan(join(directory, "/plan", NULL), "warm", &plan) == NULL || getcwd(cwd, sizeof cwd) == NULL) return EXIT_OURS;
  static char *nothing[] = {(char *)"/nonexistent/forkpoint-warm-check"};
  arm(nothing, 1);
  return from_image(home, directory, cwd);
}

// An image whose directory the caller knows and has looked at; an ordinary start is these words: COUNT WORD... ARG...
static int of_directory(const char *home, const char *directory, char **arguments) {
  char cwd[PATH_MAX], *end;
  size_t there = 0;
  while (arguments[there] != NULL) there++;
  size_t count = there > 0 ? strtoul(arguments[0], &end, 10) : 0;
  if (count == 0 || *end != 0 || count >= there) bail(EXIT_OURS, "launcher warm-image needs an ordinary start behind %s", directory);
  typed = arguments + 1 + count;
  arm(arguments + 1, count);
  if (getcwd(cwd, sizeof cwd) == NULL || cwd[0] != '/') cold_start("there is no working directory", NULL);
  if (size_given() > GIVEN_MAX) cold_start("very long arguments", NULL);
  return from_image(home, directory, cwd);
}

// `launcher warm HOME NAME ARG...`; for the check of a new image `launcher warm-check HOME DIRECTORY ARG...`; and
// `launcher warm-image HOME DIRECTORY COUNT WORD... ARG...`.
int warm_main(const char *verb, char **arguments) {
  struct plan command, plan;
  char cwd[PATH_MAX];
  size_t root;
  const char *home = arguments[0];
  place = join(home, "/warm", NULL);
  name = arguments[1];
  typed = arguments + 2;
  for (int fd = 0; fd < 3; fd++) variant[fd] = isatty(fd) ? '1' : '0';
  if (strcmp(verb, "warm-check") == 0) return check(home, name);
  if (strcmp(verb, "warm-image") == 0) return of_directory(home, name, typed);
  if (strcmp(name, "--limits") == 0) {
    digest_of_limits(cwd);
    return puts(cwd) < 0;
  }
  if (read_plan(join(place, "/", name, "/command", NULL), "warm-command", &command) == NULL || plan_find(&command, "word") == NULL)
    bail(EXIT_OURS, "no command called %s has been warmed here", name);
  arm(plan_find(&command, "word")->field, plan_find(&command, "word")->count);
  if (getcwd(cwd, sizeof cwd) == NULL || cwd[0] != '/') cold_start("there is no working directory", NULL);
  char *project = find_project(cwd, &root);
  if (project == NULL) cold_start("nothing was warmed for this directory", cwd);
  const char *path = must(strndup(cwd, root));
  char *directory = join(project, "/", variant, NULL);
  if (read_plan(join(directory, "/plan", NULL), "warm", &plan) == NULL) {
    const char *refused = join(project, "/cold-", variant, NULL);
    if (access(refused, F_OK) == 0) cold_start("its image was refused", refused);
    refresh(project, path);
    cold_start("there is no image for these streams yet", variant);
  }
  const char *of = plan_text(&plan, "root", 0), *bin = plan_text(&plan, "bin", 0), *detail = NULL;
  const struct record *cold = plan_find(&plan, "cold");
  if (of == NULL || bin == NULL || cold == NULL || strcmp(of, path) != 0) cold_start("the plan is of another project", of);
  if (is_shadowed(cwd, root, bin)) cold_start("another one is installed nearer", cwd);
  arm(cold->field, cold->count);
  int is_stale;
  const char *reason = difference(&plan, &detail, &is_stale);
  if (reason != NULL) {
    if (is_stale) refresh(project, path);
    cold_start(reason, detail);
  }
  if (size_given() > GIVEN_MAX) cold_start("very long arguments", NULL);
  return from_image(home, directory, cwd);
}
