// `launcher restore`: reads the command line and the image's restore plan, checks what a stat(2) can check, opens the
// sockets, and has CRIU restore the program. Whatever is unusual goes to the Node command line, whose work it is to explain.
#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// The image that was found at its path, and whether this is a second try.
static struct stat found;
static const char *found_at;
static int is_again;

// Begins again when another image has taken the place of the one that was being read, as a checkpoint onto it does and
// flattening in the background. Returns when that is not what happened.
void restore_again(char **arguments) {
  struct stat now;
  sigset_t none;
  size_t count = 0;
  if (found_at == NULL || is_again || stat(found_at, &now) != 0 || (now.st_ino == found.st_ino && now.st_dev == found.st_dev)) return;
  while (arguments[count] != NULL) count++;
  char **argv = must(calloc(count + 3, sizeof *argv));
  argv[0] = (char *)"launcher";
  argv[1] = (char *)"restore";
  memcpy(argv + 2, arguments, count * sizeof *argv);
  setenv("FORKPOINT_AGAIN", "1", 1);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execv("/proc/self/exe", argv);
}

void explain(const struct options *options, const char *reason, const char *detail) {
  restore_again(options->all);
  exec_cli("restore-explain", reason, detail, options->all);
}

// Takes an option with a value, written `--key value` or `--key=value`; NULL when it is another option.
static const char *option_value(const char *key, char ***at) {
  size_t length = strlen(key);
  if (strncmp(**at, key, length) != 0) return NULL;
  if ((**at)[length] == '=') return **at + length + 1;
  if ((**at)[length] != 0 || (*at)[1] == NULL) return NULL;
  return *++*at;
}

static void parse(struct options *options, char **arguments) {
  static char *nothing[] = {NULL};
  options->all = arguments;
  options->args = nothing;
  options->timeout_ms = 60000;
  for (char **at = arguments; *at != NULL; at++) {
    const char *value;
    if (strcmp(*at, "--") == 0) {
      options->args = at + 1;
      break;
    }
    if ((*at)[0] != '-' && options->image == NULL) options->image = *at;
    else if (options->image == NULL && (value = option_value("--from", &at)) != NULL) options->image = value;
    else if ((value = option_value("--name", &at)) != NULL) options->name = value;
    else if ((value = option_value("--to", &at)) != NULL) options->to = value;
    else if ((value = option_value("--cwd", &at)) != NULL) options->cwd = value;
    else if ((value = option_value("--main", &at)) != NULL) options->main = value;
    else if (options->properties < OPTIONS_MAX && strncmp(*at, "-D", 2) == 0 && (*at)[2] != 0 && (*at)[2] != '=') options->property[options->properties++] = *at + 2;
    else if (options->properties < OPTIONS_MAX && (value = option_value("-D", &at)) != NULL) options->property[options->properties++] = value;
    else if (options->envs < OPTIONS_MAX && (value = option_value("--env", &at)) != NULL) options->env[options->envs++] = value;
    else if (options->listens < OPTIONS_MAX && (value = option_value("--listen", &at)) != NULL) options->listen[options->listens++] = value;
    else if (options->files < OPTIONS_MAX && (value = option_value("--fd", &at)) != NULL) options->file[options->files++] = value;
    else if ((value = option_value("--timeout", &at)) != NULL) {
      char *end;
      options->timeout_ms = (long)(strtod(value, &end) * 1000);
      if (*end != 0 || options->timeout_ms <= 0) explain(options, "usage", *at);
    } else if (strcmp(*at, "-d") == 0 || strcmp(*at, "--detach") == 0) options->detach = 1;
    else if (strcmp(*at, "--json") == 0) options->json = 1;
    else if (strcmp(*at, "--no-reseed") == 0) options->no_reseed = 1;
    else if (strcmp(*at, "--no-prefetch") == 0) options->no_prefetch = 1;
    else if (strcmp(*at, "--or-run") == 0 || strcmp(*at, "--ignore-restore-if-unavailable") == 0) continue;
    else explain(options, "usage", *at);
  }
  if (options->image == NULL) explain(options, "usage", "no image");
  for (size_t i = 0; i < options->envs; i++)
    if (strchr(options->env[i], '=') == NULL || options->env[i][0] == '=') explain(options, "usage", options->env[i]);
}

static const char *home_directory(const struct options *options) {
  const char *home = getenv("FORKPOINT_HOME"), *data = getenv("XDG_DATA_HOME"), *user = getenv("HOME");
  if (home != NULL && *home != 0) {
    if (home[0] != '/') explain(options, "home", home);
    return home;
  }
  if (data != NULL && data[0] == '/') return join(data, "/forkpoint", NULL);
  if (user == NULL || user[0] != '/') explain(options, "home", "HOME is not set");
  return join(user, "/.local/share/forkpoint", NULL);
}

// ---- checks ----

static void check_cpu(const struct options *options, const struct plan *plan) {
  uint32_t words[16];
  size_t count;
  const struct record *record = plan_find(plan, "cpu");
  cpu_words(words, &count);
  for (size_t i = 0; record != NULL && i + 1 < record->count && i < count; i++)
    if ((strtoul(record->field[i + 1], NULL, 16) & ~(unsigned long)words[i]) != 0) explain(options, "cpu", record->field[i + 1]);
}

static void check_files(const struct options *options, const struct plan *plan) {
  for (size_t i = 0; i < plan->count; i++) {
    const struct record *record = &plan->record[i];
    struct stat status;
    if (strcmp(record->key, "cwd") == 0) {
      for (size_t j = 0; j < record->count; j++)
        if (stat(record->field[j], &status) != 0 || !S_ISDIR(status.st_mode)) explain(options, "cwd", record->field[j]);
    }
    if (strcmp(record->key, "file") != 0 || record->count < 3) continue;
    if (stat(record->field[0], &status) != 0) explain(options, "file", record->field[0]);
    long long mtime = (long long)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    if (strcmp(record->field[1], "-") != 0 && atoll(record->field[1]) != (long long)status.st_size)
      explain(options, "file", record->field[0]);
    if (strcmp(record->field[2], "-") != 0 && atoll(record->field[2]) != mtime) explain(options, "file", record->field[0]);
  }
}

// A lock that somebody else holds, as the living original does, would make CRIU wait for ever.
static void check_locks(const struct options *options, const struct plan *plan) {
  for (size_t i = 0; i < plan->count; i++) {
    char **field = plan->record[i].field;
    if (strcmp(plan->record[i].key, "lock") != 0 || plan->record[i].count < 5) continue;
    int exclusive = field[2][0] == '1', taken = 0;
    int fd = open(field[0], (exclusive ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0) continue;
    if (strcmp(field[1], "flock") == 0) {
      taken = flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    } else {
      struct flock range = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_start = atoll(field[3]), .l_len = atoll(field[4])};
      taken = fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
    }
    close(fd);
    if (taken) explain(options, "locked", field[0]);
  }
}

// Starts CRIU; the restored program becomes our child.
pid_t restore_spawn(struct run *run) {
  char *arguments[CRIU_ARGS_MAX], work[4200], log[4300], image[48];
  size_t n = 0;
  const struct record *extra = plan_find(run->plan, "criu");
  pid_t pid = fork();
  if (pid != 0) return pid;
  snprintf(work, sizeof work, "%s/work", run->dir);
  mkdir(work, 0700);
  snprintf(log, sizeof log, "%s/restore.log", run->dir);
  // Not by its path, where another image may lie by now.
  snprintf(image, sizeof image, "/proc/self/fd/%d", fcntl(run->image_fd, F_DUPFD, 100));
  const char *fixed[] = {"--unprivileged", "-D", image, "-W", work, "-o", log, "-v2", "--tcp-close", "--skip-in-flight",
                         "--restore-detached", "--restore-sibling"};
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) arguments[n++] = (char *)fixed[i];
  for (size_t i = 0; extra != NULL && i < extra->count && n < CRIU_ARGS_MAX - 2 * SLOTS_MAX - 2; i++) arguments[n++] = extra->field[i];
  for (size_t i = 0; i < run->slots; i++) {
    struct slot *slot = &run->slot[i];
    char *value = must(malloc(strlen(slot->key) + 32));
    int fd = fcntl(slot->fd, F_DUPFD, 100);
    sprintf(value, "fd[%d]:%s", fd, slot->key);
    arguments[n++] = (char *)"--inherit-fd";
    arguments[n++] = value;
  }
  int out = open(join(run->dir, "/launcher.log", NULL), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  dup2(out, 2);
  // The program's ipc namespace, unless the image brings one.
  if (unshare(CLONE_NEWIPC) != 0) _exit(EXIT_OURS);
  if (atoi(plan_text(run->plan, "ipc", 0) != NULL ? plan_text(run->plan, "ipc", 0) : "0")) {
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length < 0 ? 0 : length] = 0;
    char *slash = strrchr(self, '/');
    if (slash != NULL) *slash = 0;
    run->preload = join(self, "/ipc.so", NULL);
  }
  pod_exec_criu(run, "restore", n, arguments);
  return -1;
}

// ---- the command ----

static const char *json_array(char **items) {
  struct text text = {0};
  text_print(&text, "[");
  for (size_t i = 0; items[i] != NULL; i++) {
    if (i > 0) text_print(&text, ",");
    text_json(&text, items[i]);
  }
  text_print(&text, "]");
  return text.bytes;
}

// Adds an object of `NAME=VALUE` pairs; a name alone has the empty value.
static void text_pairs(struct text *text, const char *const *pairs, size_t count) {
  text_print(text, "{");
  for (size_t i = 0; i < count; i++) {
    char *name = must(strdup(pairs[i])), *equals = strchr(name, '=');
    if (equals != NULL) *equals = 0;
    if (i > 0) text_print(text, ",");
    text_json(text, name);
    text_print(text, ":");
    text_json(text, equals != NULL ? equals + 1 : "");
    free(name);
  }
  text_print(text, "}");
}

static const char *json_environment(const struct options *options) {
  struct text text = {0};
  text_pairs(&text, options->env, options->envs);
  return text.bytes;
}

// What an outcome has behind `"args":`. What only a JVM knows, a main class and system properties, follows when it was given.
static const char *json_arguments(const struct options *options) {
  struct text text = {0};
  const char *args = json_array(options->args);
  text_add(&text, args, strlen(args));
  if (options->main != NULL) {
    text_print(&text, ",\"main\":");
    text_json(&text, options->main);
  }
  if (options->properties > 0) {
    text_print(&text, ",\"properties\":");
    text_pairs(&text, options->property, options->properties);
  }
  return text.bytes;
}

// A file of the image, by way of its directory's descriptor.
char *of_image(const struct run *run, const char *name) {
  char directory[48];
  snprintf(directory, sizeof directory, "/proc/self/fd/%d", run->image_fd);
  return join(directory, name, NULL);
}

static void load(const struct options *options, struct run *run) {
  struct stat status;
  size_t length;
  if (run->home == NULL) run->home = home_directory(options);
  int is_path = strchr(options->image, '/') != NULL || options->image[0] == '.';
  char *image = is_path ? absolute(options->image) : join(run->home, "/images/", options->image, NULL);
  char *real = realpath(image, NULL);
  if (real == NULL || stat(real, &status) != 0 || !S_ISDIR(status.st_mode)) explain(options, "no-image", image);
  run->image = real;
  found = status;
  found_at = real;
  run->image_fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (run->image_fd < 0 || fstat(run->image_fd, &found) != 0) explain(options, "no-image", image);
  char *bytes = read_file(of_image(run, "/restore.plan"), 64u << 20, &length);
  run->plan = must(calloc(1, sizeof *run->plan));
  if (bytes == NULL || plan_parse(bytes, length, run->plan, NULL) != 0) explain(options, "plan", real);
  const char *kind = plan_text(run->plan, "forkpoint-plan", 0), *version = plan_text(run->plan, "forkpoint-plan", 1);
  if (kind == NULL || version == NULL || strcmp(kind, "restore") != 0 || strcmp(version, "1") != 0) explain(options, "plan", real);
  static const char *const needed[] = {"image", "origin", "generation", "taken", "root", "pidbase", "ctl", "command", "cpu"};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
    if (plan_text(run->plan, needed[i], 0) == NULL) explain(options, "plan", needed[i]);
  use_unpacked(options, run);
}

// An image that is damaged, or of a newer format than the plan tells: CRIU would notice late, or not at all.
static void check_image(const struct options *options, const struct run *run) {
  size_t length;
  char *path = join(run->image, "/manifest.json", NULL), *manifest = read_file(of_image(run, "/manifest.json"), 64u << 20, &length);
  while (manifest != NULL && length > 0 && manifest[length - 1] == '\n') length--;
  long version = manifest != NULL ? json_integer(manifest, "formatVersion") : -1;
  if (version > FORMAT_NEWEST) explain(options, "newer", path);
  if (version < 1 || length == 0 || manifest[length - 1] != '}') explain(options, "manifest", path);
  free(manifest);
  free(path);
  for (size_t i = 0; i < run->plan->count; i++) {
    const struct record *record = &run->plan->record[i];
    struct stat status;
    if (strcmp(record->key, "part") != 0 || record->count < 2) continue;
    char *name = join("/", record->field[0], NULL), *part = of_image(run, name);
    free(name);
    if (stat(part, &status) != 0 || atoll(record->field[1]) != (long long)status.st_size) explain(options, "part", record->field[0]);
    free(part);
  }
}

static void take_plan(const struct options *options, struct run *run) {
  const struct record *clock = plan_find(run->plan, "clock");
  run->image_id = plan_text(run->plan, "image", 0);
  run->parent_id = plan_text(run->plan, "origin", 0);
  run->generation = atol(plan_text(run->plan, "generation", 0)) + 1;
  run->taken_ms = atoll(plan_text(run->plan, "taken", 0));
  run->root_pid = atol(plan_text(run->plan, "root", 0));
  run->pid_base = atol(plan_text(run->plan, "pidbase", 0));
  run->ctl_mount = plan_text(run->plan, "ctl", 0);
  run->command = plan_text(run->plan, "command", 0);
  for (size_t i = 0; clock != NULL && clock->count == 4 && i < 4; i++) run->clock[i] = atoll(clock->field[i]);
  run->has_clock = clock != NULL && clock->count == 4;
  run->detach = options->detach;
  run->json = options->json;
  run->reseed = !options->no_reseed;
  run->timeout_ms = options->timeout_ms;
  run->to = options->to;
  run->to_cwd = options->to != NULL ? absolute(".") : NULL;
  run->new_cwd = options->cwd != NULL ? absolute(options->cwd) : NULL;
  run->args_json = json_arguments(options);
  run->env_json = json_environment(options);
  run->arguments = options->all;
}

static void make_run_directory(struct run *run, const struct options *options) {
  unsigned char bytes[6];
  char id[16];
  if (!run->is_child) {
    if (random_bytes(bytes, sizeof bytes) != 0) bail(EXIT_OURS, "cannot read /dev/urandom:");
    for (int i = 0; i < 6; i++) snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    run->id = must(strdup(id));
    mkdir(join(run->home, "/runs", NULL), 0700);
    run->dir = join(run->home, "/runs/", id, NULL);
    if (mkdir(run->dir, 0700) != 0) explain(options, "home", run->dir);
  }
  run->name = options->name != NULL ? options->name : run->id;
  cold_forget(run->dir);
  if (mkdir(join(run->dir, "/ctl", NULL), 0700) != 0) explain(options, "home", run->dir);
  link_layers(options, run);
  if (mkdir(run->ctl_mount, 0700) != 0 && errno != EEXIST) explain(options, "mount-point", run->ctl_mount);
}

static int restore(const struct options *options, struct run *run) {
  static char *worker[3];
  struct stat status;
  load(options, run);
  check_image(options, run);
  take_plan(options, run);
  run->engine = engine_prefix(run->home);
  if (run->engine == NULL || access(run->engine[0], X_OK) != 0) explain(options, "engine", "not set up");
  if (run->new_cwd != NULL && (stat(run->new_cwd, &status) != 0 || !S_ISDIR(status.st_mode))) explain(options, "cwd", run->new_cwd);
  check_cpu(options, run->plan);
  check_files(options, run->plan);
  check_locks(options, run->plan);
  check_code(options, run);
  read_slots(options, run);
  child_fill_slots(run);
  open_sockets(options, run);
  check_file_slots(options, run);
  if (!run->is_child) warn_of_variables(options, run);
  if (!options->no_prefetch) read_ahead(run);
  make_run_directory(run, options);
  const char *node = getenv("FORKPOINT_NODE"), *library = getenv("FORKPOINT_LIB");
  worker[0] = (char *)(node != NULL && *node != 0 ? node : "node");
  worker[1] = join(library != NULL ? library : "", "/dist/worker.cjs", NULL);
  if (run->worker == NULL) run->worker = worker;
  int pollable[3] = {0, 0, 0};
  for (size_t i = 0; i < run->slots; i++)
    if (run->slot[i].kind <= SLOT_STDERR) pollable[run->slot[i].kind] = run->slot[i].pollable;
  stdio_classify(run, pollable);
  return run_pod(run);
}

int restore_main(int count, char **arguments) {
  static struct options options;
  static struct run run;
  (void)count;
  run.started_ms = now_ms(CLOCK_REALTIME);
  is_again = getenv("FORKPOINT_AGAIN") != NULL;
  unsetenv("FORKPOINT_AGAIN");
  run.index = run.life = -1;
  parse(&options, arguments);
  return restore(&options, &run);
}

int restore_child(struct run *run, char **arguments) {
  static struct options options;
  is_again = 1;  // Nobody puts another image into the place of a child's.
  parse(&options, arguments);
  return restore(&options, run);
}

int restore_warm(struct run *run, char **arguments) {
  static struct options options;
  run->started_ms = now_ms(CLOCK_REALTIME);
  run->index = run->life = -1;
  parse(&options, arguments);
  return restore(&options, run);
}
