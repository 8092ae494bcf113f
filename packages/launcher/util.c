// Small pieces: errors, files, plans, JSON, capabilities.
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX (16u << 20)
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

// Prints one `Error:` line, with errno's text where the format ends in a colon, and exits.
void bail(int code, const char *format, ...) {
  int error = errno;
  va_list list;
  if (cold_command != NULL) cold_start(format, NULL);
  if (failure_fd >= 0) dup2(failure_fd, 2);
  va_start(list, format);
  fputs("Error: ", stderr);
  vfprintf(stderr, format, list);
  va_end(list);
  size_t length = strlen(format);
  fprintf(stderr, length > 0 && format[length - 1] == ':' ? " %s\n" : "\n", strerror(error));
  exit(code);
}

void warn(const char *format, ...) {
  int error = errno;
  va_list list;
  va_start(list, format);
  fputs("Warning: ", stderr);
  vfprintf(stderr, format, list);
  va_end(list);
  size_t length = strlen(format);
  fprintf(stderr, length > 0 && format[length - 1] == ':' ? " %s\n" : "\n", strerror(error));
}

void *must(void *pointer) {
  if (pointer == NULL) bail(EXIT_OURS, "out of memory:");
  return pointer;
}

// Joins strings up to a NULL into a new one.
char *join(const char *first, ...) {
  va_list list;
  size_t length = 0;
  va_start(list, first);
  for (const char *part = first; part != NULL; part = va_arg(list, const char *)) length += strlen(part);
  va_end(list);
  char *result = must(malloc(length + 1));
  char *end = result;
  va_start(list, first);
  for (const char *part = first; part != NULL; part = va_arg(list, const char *)) {
    size_t size = strlen(part);
    memcpy(end, part, size);
    end += size;
  }
  va_end(list);
  *end = 0;
  return result;
}

// Reads a whole file of at most `limit` bytes; NULL with errno on failure (EFBIG past the limit). A NUL follows the bytes.
char *read_file(const char *path, size_t limit, size_t *length) {
  // What comes with an image may be a FIFO, which nobody should wait for.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return NULL;
  char *bytes = must(malloc(4096));
  size_t size = 0, capacity = 4096;
  for (;;) {
    if (size + 1 == capacity) bytes = must(realloc(bytes, capacity *= 2));
    ssize_t count = read(fd, bytes + size, capacity - size - 1);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 || size + (size_t)count > limit) {
      int error = count < 0 ? errno : EFBIG;
      close(fd);
      free(bytes);
      errno = error;
      return NULL;
    }
    if (count == 0) break;
    size += (size_t)count;
  }
  close(fd);
  bytes[size] = 0;
  if (length != NULL) *length = size;
  return bytes;
}

int write_file(const char *path, const char *bytes, size_t length, int flags) {
  int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
  if (fd < 0) return -1;
  size_t done = 0;
  while (done < length) {
    ssize_t count = write(fd, bytes + done, length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      int error = errno;
      close(fd);
      errno = error;
      return -1;
    }
    done += (size_t)count;
  }
  return close(fd);
}

// Copies a file, sharing its blocks where the file system can.
int copy_file(const char *from, const char *to) {
  int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  ssize_t count = -1;
  if (in >= 0 && out >= 0) {
    while ((count = copy_file_range(in, NULL, out, NULL, 1u << 30, 0)) > 0) {}
    // Not between all pairs of file systems; the offsets stand where it stopped.
    static char block[1 << 16];
    if (count < 0)
      while ((count = read(in, block, sizeof block)) > 0 && write(out, block, (size_t)count) == count) {}
  }
  if (in >= 0) close(in);
  if (out >= 0 && close(out) != 0) count = -1;
  return count == 0 ? 0 : -1;
}

// Swaps two files or directories atomically. The call is younger than the libcs that the launcher is built with.
int exchange(const char *one, const char *other) {
  return (int)syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}

// Writes one short text into a kernel file with a single write(2).
int put(const char *path, const char *format, ...) {
  char buffer[512];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(buffer, sizeof buffer, format, list);
  va_end(list);
  return write_file(path, buffer, (size_t)length, 0);
}

// Parses one record at `*at`; 1 when there is one, 0 when the bytes end within it, -1 when it is malformed.
static int parse_record(char *bytes, size_t length, size_t *at, struct record *record) {
  char *end = memchr(bytes + *at, 0, length - *at);
  if (end == NULL) return 0;
  char *colon = strrchr(bytes + *at, ':');
  if (colon == NULL) return -1;
  char *stop;
  unsigned long count = strtoul(colon + 1, &stop, 10);
  if (*stop != 0 || stop == colon + 1 || count > 1000000) return -1;
  size_t next = (size_t)(end - bytes) + 1;
  size_t probe = next;
  for (unsigned long i = 0; i < count; i++) {
    char *stringEnd = probe < length ? memchr(bytes + probe, 0, length - probe) : NULL;
    if (stringEnd == NULL) return 0;
    probe = (size_t)(stringEnd - bytes) + 1;
  }
  record->field = must(calloc(count + 1, sizeof(char *)));
  for (unsigned long i = 0; i < count; i++) {
    record->field[i] = bytes + next;
    next += strlen(bytes + next) + 1;
  }
  *colon = 0;
  record->key = bytes + *at;
  record->count = count;
  *at = next;
  return 1;
}

// Splits a plan's bytes into records. Returns 0, or -1 when malformed. With `used`, trailing incomplete bytes are
// allowed and `*used` tells how many were consumed: the worker's stream is read the same way.
int plan_parse(char *bytes, size_t length, struct plan *plan, size_t *used) {
  size_t at = 0, capacity = 0;
  plan->record = NULL;
  plan->count = 0;
  while (at < length) {
    if (plan->count == capacity) {
      capacity = capacity == 0 ? 64 : capacity * 2;
      plan->record = must(realloc(plan->record, capacity * sizeof(struct record)));
    }
    int got = parse_record(bytes, length, &at, &plan->record[plan->count]);
    if (got < 0) return -1;
    if (got == 0) break;
    plan->count++;
  }
  if (used != NULL) *used = at;
  else if (at != length) return -1;
  return 0;
}

const struct record *plan_find(const struct plan *plan, const char *key) {
  for (size_t i = 0; i < plan->count; i++)
    if (strcmp(plan->record[i].key, key) == 0) return &plan->record[i];
  return NULL;
}

// One field of a record; NULL when the record or the field is missing.
const char *plan_text(const struct plan *plan, const char *key, size_t index) {
  const struct record *record = plan_find(plan, key);
  return record != NULL && index < record->count ? record->field[index] : NULL;
}

void text_add(struct text *text, const char *bytes, size_t length) {
  if (text->length + length + 1 > text->capacity) {
    text->capacity = (text->length + length + 1) * 2;
    if (text->capacity > TEXT_MAX) bail(EXIT_OURS, "a text is longer than %u bytes", TEXT_MAX);
    text->bytes = must(realloc(text->bytes, text->capacity));
  }
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
  text->bytes[text->length] = 0;
}

void text_print(struct text *text, const char *format, ...) {
  char buffer[1024];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(buffer, sizeof buffer, format, list);
  va_end(list);
  if (length < 0 || (size_t)length >= sizeof buffer) bail(EXIT_OURS, "a formatted text is too long");
  text_add(text, buffer, (size_t)length);
}

// Adds a JSON string, or null.
void text_json(struct text *text, const char *value) {
  if (value == NULL) {
    text_add(text, "null", 4);
    return;
  }
  text_add(text, "\"", 1);
  for (const unsigned char *c = (const unsigned char *)value; *c != 0; c++) {
    if (*c == '"' || *c == '\\') text_print(text, "\\%c", *c);
    else if (*c < 0x20) text_print(text, "\\u%04x", *c);
    else text_add(text, (const char *)c, 1);
  }
  text_add(text, "\"", 1);
}

// The text after `"key":` of a flat JSON object, at its top level; NULL when it is not there. The worker checks the line
// properly; the launcher needs two fields of it.
static const char *json_value(const char *line, const char *key) {
  size_t length = strlen(key);
  int depth = 0;
  for (const char *c = line; *c != 0; c++) {
    if (*c == '{' || *c == '[') depth++;
    if (*c == '}' || *c == ']') depth--;
    if (*c != '"') continue;
    const char *start = ++c;
    for (; *c != 0 && *c != '"'; c++)
      if (*c == '\\' && c[1] != 0) c++;
    if (*c == 0) return NULL;
    if (depth != 1 || (size_t)(c - start) != length || strncmp(start, key, length) != 0) continue;
    const char *value = c + 1;
    while (*value == ' ') value++;
    if (*value != ':') continue;
    for (value++; *value == ' '; value++) {}
    return value;
  }
  return NULL;
}

int json_string(const char *line, const char *key, char *out, size_t size) {
  const char *value = json_value(line, key);
  if (value == NULL || *value != '"') return -1;
  size_t length = strcspn(value + 1, "\"\\");
  if (value[1 + length] != '"' || length >= size) return -1;
  memcpy(out, value + 1, length);
  out[length] = 0;
  return 0;
}

long json_integer(const char *line, const char *key) {
  const char *value = json_value(line, key);
  if (value == NULL) return -1;
  char *end;
  long number = strtol(value, &end, 10);
  return end == value || number < 0 ? -1 : number;
}

long long now_ms(int clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (long long)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

int random_bytes(void *bytes, size_t length) {
  int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t count = read(fd, bytes, length);
  close(fd);
  return count == (ssize_t)length ? 0 : -1;
}

int set_nonblocking(int fd, int on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -1;
  int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  return wanted == flags ? 0 : fcntl(fd, F_SETFL, wanted);
}

// Makes a FIFO that only its owner may use; one that is there already is fine.
int make_fifo(const char *path) { return mkfifo(path, 0600) != 0 && errno != EEXIST ? -1 : 0; }

// Leaves the calling process without capabilities, for itself and whatever it executes. The empty bounding set matters
// for uid 0: execve(2) would give root all capabilities of the namespace back.
void drop_capabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  memset(data, 0, sizeof data);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
  if (syscall(SYS_capset, &header, data) != 0) bail(EXIT_OURS, "cannot drop capabilities:");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) bail(EXIT_OURS, "cannot set no-new-privs:");
}

// Gives CRIU the namespace's capabilities through exec. Without SETUID and SETGID: CRIU would otherwise try to become
// uid 0, which is not mapped (criu/namespaces.c:1625, "Unable to initialize id-s").
void raise_ambient(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) bail(EXIT_OURS, "capget failed:");
  for (int i = 0; i < 2; i++) data[i].inheritable = data[i].permitted;
  if (syscall(SYS_capset, &header, data) != 0) bail(EXIT_OURS, "capset failed:");
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
    if (cap != CAP_SETUID && cap != CAP_SETGID) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

static void cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4]) {
  __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(sub));
}

// The CPU's feature words: a restored program may use whatever it found at its start, so an image fits where no bit of
// its words is missing. Bits that describe state rather than ability are left out: OSXSAVE and OSPKE follow the kernel.
void cpu_words(uint32_t words[], size_t *count) {
  uint32_t r[4], highest[4];
  size_t n = 0;
  cpuid(0, 0, highest);
  cpuid(1, 0, r);
  words[n++] = r[2];
  words[n++] = r[3];
  memset(r, 0, sizeof r);
  if (highest[0] >= 7) cpuid(7, 0, r);
  words[n++] = r[1];
  words[n++] = r[2] & ~(1u << 4);
  words[n++] = r[3];
  if (highest[0] >= 7) cpuid(7, 1, r);
  words[n++] = highest[0] >= 7 ? r[0] : 0;
  cpuid(0x80000001u, 0, r);
  words[n++] = r[2];
  words[n++] = r[3];
  memset(r, 0, sizeof r);
  if (highest[0] >= 0xd) cpuid(0xd, 0, r);
  words[n++] = r[0];
  if (highest[0] >= 0xd) cpuid(0xd, 1, r);
  words[n++] = highest[0] >= 0xd ? r[0] : 0;
  *count = n;
}

// Replaces this process with the Node command line, whose work it is to explain.
void exec_cli(const char *verb, const char *reason, const char *detail, char **arguments) {
  const char *node = getenv("FORKPOINT_NODE"), *library = getenv("FORKPOINT_LIB");
  sigset_t none;
  if (cold_command != NULL) cold_start(reason, detail);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  if (failure_fd >= 0) dup2(failure_fd, 2);
  if (node == NULL || *node == 0) node = "node";
  if (library == NULL) bail(EXIT_OURS, "%s: %s", reason, detail);
  size_t count = 0;
  while (arguments[count] != NULL) count++;
  char **argv = must(calloc(count + 7, sizeof(char *)));
  size_t n = 0;
  argv[n++] = (char *)node;
  argv[n++] = join(library, "/dist/cli.cjs", NULL);
  argv[n++] = (char *)verb;
  argv[n++] = (char *)reason;
  argv[n++] = (char *)detail;
  argv[n++] = "--";
  for (size_t i = 0; i < count; i++) argv[n++] = arguments[i];
  execvp(node, argv);
  bail(EXIT_OURS, "%s: %s (and `%s` cannot be executed to explain it):", reason, detail, node);
}
