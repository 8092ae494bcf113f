// The slots of an image: what fills them is opened here and handed to CRIU by number.
#include "restore.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

char *absolute(const char *path) {
  char cwd[4096];
  if (path[0] == '/') return must(strdup(path));
  if (getcwd(cwd, sizeof cwd) == NULL) bail(EXIT_OURS, "cannot find out the working directory:");
  return join(cwd, "/", path, NULL);
}

// Splits an address given by the user: PORT, HOST:PORT or [HOST]:PORT.
static void split_address(const struct options *options, const char *text, char *host, size_t size, const char **port) {
  const char *colon = strrchr(text, ':');
  *port = colon != NULL ? colon + 1 : text;
  if (colon != NULL) {
    size_t length = (size_t)(colon - text);
    if (length > 1 && text[0] == '[' && text[length - 1] == ']') text++, length -= 2;
    if (length >= size) explain(options, "listen", text);
    memcpy(host, text, length);
    host[length] = 0;
  }
  char *end;
  long number = strtol(*port, &end, 10);
  if (**port == 0 || *end != 0 || number < 0 || number > 65535) explain(options, "listen", text);
}

static int has_option(const char *options, const char *name) {
  size_t length = strlen(name);
  for (const char *at = options; (at = strstr(at, name)) != NULL; at += length)
    if ((at == options || at[-1] == ',') && (at[length] == 0 || at[length] == ',')) return 1;
  return 0;
}

static void open_tcp(const struct options *options, struct slot *slot, const char *given, int shares) {
  char host[256], shown[320];
  const char *port = slot->field[2], *flags = slot->field[4];
  union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } address;
  socklen_t length = sizeof address;
  int one = 1, only = has_option(flags, "v6only");
  snprintf(host, sizeof host, "%s", slot->field[1]);
  if (given != NULL) split_address(options, given, host, sizeof host, &port);
  memset(&address, 0, sizeof address);
  if (inet_pton(AF_INET6, host, &address.v6.sin6_addr) == 1) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons((uint16_t)atoi(port));
  } else if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &address.v4.sin_addr) == 1) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons((uint16_t)atoi(port));
    length = sizeof address.v4;
  } else {
    explain(options, "listen", host);
  }
  int family = address.any.sa_family;
  slot->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (slot->fd < 0) explain(options, "listen", host);
  setsockopt(slot->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (has_option(flags, "reuseport") || shares) setsockopt(slot->fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  if (has_option(flags, "nodelay")) setsockopt(slot->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (family == AF_INET6) setsockopt(slot->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  snprintf(shown, sizeof shown, family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
  if (bind(slot->fd, &address.any, length) != 0 || listen(slot->fd, atoi(slot->field[3])) != 0)
    explain(options, errno == EADDRINUSE ? "in-use" : "listen", shown);
  if (getsockname(slot->fd, &address.any, &length) == 0)
    snprintf(shown, sizeof shown, family == AF_INET6 ? "[%s]:%u" : "%s:%u", host,
             ntohs(family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port));
  slot->address = must(strdup(shown));
}

// Also in place of a TCP port: the program's epoll holds whatever CRIU puts at the number of the descriptor, and accept(2) is the same call.
static void open_unix(const struct options *options, struct slot *slot, const char *path, int type, const char *backlog, mode_t mode) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strncmp(path, "unix:", 5) == 0) path += 5;
  if (*path == 0 || strlen(path) >= sizeof address.sun_path) explain(options, "listen", path);
  strcpy(address.sun_path, path);
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
  // `@name` is how an abstract address is written.
  if (path[0] == '@') address.sun_path[0] = 0, length--;
  slot->fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  int probe = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  if (slot->fd < 0 || probe < 0) explain(options, "listen", path);
  if (path[0] != '@' && connect(probe, (struct sockaddr *)&address, length) == 0) explain(options, "in-use", path);
  // Nobody answers: what is there was left behind by a program that has ended.
  if (path[0] != '@' && errno == ECONNREFUSED) unlink(path);
  close(probe);
  if (bind(slot->fd, (struct sockaddr *)&address, length) != 0 || listen(slot->fd, atoi(backlog)) != 0)
    explain(options, errno == EADDRINUSE ? "in-use" : "listen", path);
  if (path[0] != '@') chmod(path, mode);
  slot->address = must(strdup(path));
}

static int slot_matches(const struct slot *slot, const char *text, size_t length) {
  if (strlen(slot->id) == length && strncmp(slot->id, text, length) == 0) return 1;
  return slot->kind == SLOT_TCP && strlen(slot->field[2]) == length && strncmp(slot->field[2], text, length) == 0;
}

void open_sockets(const struct options *options, struct run *run) {
  int used[OPTIONS_MAX] = {0};
  for (size_t i = 0; i < run->slots; i++) {
    struct slot *slot = &run->slot[i];
    const char *given = NULL;
    if (slot->fd >= 0) continue;
    for (size_t j = 0; j < options->listens; j++) {
      const char *equals = strchr(options->listen[j], '=');
      if (equals == NULL) explain(options, "listen", options->listen[j]);
      if (!slot_matches(slot, options->listen[j], (size_t)(equals - options->listen[j]))) continue;
      given = equals + 1;
      used[j] = 1;
    }
    int to_unix = given != NULL && (given[0] == '/' || strncmp(given, "unix:", 5) == 0);
    // Node's default for a socket it makes itself: everybody whom the directory lets in, as far as the umask allows.
    if (slot->kind == SLOT_TCP && to_unix) open_unix(options, slot, given, SOCK_STREAM, slot->field[3], 0755);
    else if (slot->kind == SLOT_TCP) open_tcp(options, slot, given, run->shares_ports);
    if (slot->kind == SLOT_UNIX) {
      // An abstract address has no mode that a path in its place could take over.
      mode_t mode = slot->field[0][0] == '@' ? 0755 : (mode_t)strtol(slot->field[2], NULL, 8);
      int type = strcmp(slot->field[3], "seqpacket") == 0 ? SOCK_SEQPACKET : SOCK_STREAM;
      open_unix(options, slot, given != NULL ? given : slot->field[0], type, slot->field[1], mode);
    }
  }
  for (size_t j = 0; j < options->listens; j++)
    if (!used[j]) explain(options, "no-slot", options->listen[j]);
}

void read_slots(const struct options *options, struct run *run) {
  static const struct { const char *name; enum slot_kind kind; size_t fields; } kinds[] = {
      {"stdin", SLOT_STDIN, 0}, {"stdout", SLOT_STDOUT, 0}, {"stderr", SLOT_STDERR, 0}, {"tcp", SLOT_TCP, 5}, {"unix", SLOT_UNIX, 4},
      {"file", SLOT_FILE, 2}};
  const size_t known = sizeof kinds / sizeof *kinds;
  for (size_t i = 0; i < run->plan->count; i++) {
    const struct record *record = &run->plan->record[i];
    if (strcmp(record->key, "slot") != 0) continue;
    struct slot *slot = &run->slot[run->slots++];
    size_t k = 0;
    if (run->slots == SLOTS_MAX || record->count < 5) explain(options, "plan", "slot");
    while (k < known && strcmp(kinds[k].name, record->field[1]) != 0) k++;
    if (k == known || record->count < 5 + kinds[k].fields) explain(options, "plan", record->field[1]);
    *slot = (struct slot){kinds[k].kind, record->field[0], record->field[2], atoi(record->field[3]), atoi(record->field[4]),
                          record->field + 5, NULL, -1};
  }
}

// Nobody but the program keeps what fills its slots: a listener that it closes would go on taking connections.
void close_slots(struct run *run) {
  for (size_t i = 0; i < run->slots; i++) {
    struct slot *slot = &run->slot[i];
    if (slot->kind <= SLOT_STDERR || slot->fd < 0) continue;
    close(slot->fd);
    slot->fd = -1;
  }
}

static int errno_of_access(const char *path, int mode) { return access(path, mode) == 0 ? 0 : errno; }

// Files that the launcher opens: each has to be there, or to be one that can be made.
void check_file_slots(const struct options *options, struct run *run) {
  int used[OPTIONS_MAX] = {0};
  for (size_t i = 0; i < run->slots; i++) {
    struct slot *slot = &run->slot[i];
    if (slot->kind != SLOT_FILE) continue;
    for (size_t j = 0; j < options->files; j++) {
      const char *equals = strchr(options->file[j], '=');
      size_t length = equals == NULL ? 0 : (size_t)(equals - options->file[j]);
      if (length == 0 || strlen(slot->id) != length || strncmp(slot->id, options->file[j], length) != 0) continue;
      used[j] = 1;
      slot->address = absolute(equals + 1);
    }
    const char *path = slot->address != NULL ? slot->address : slot->field[0];
    int mode = (slot->flags & O_ACCMODE) == O_RDONLY ? R_OK : (slot->flags & O_ACCMODE) == O_WRONLY ? W_OK : R_OK | W_OK;
    char *directory = must(strdup(path)), *slash = strrchr(directory, '/');
    if (slash != NULL) slash[slash == directory ? 1 : 0] = 0;
    int can_make = (mode & W_OK) != 0 && errno_of_access(path, mode) == ENOENT && access(directory, W_OK | X_OK) == 0;
    if (access(path, mode) != 0 && !can_make) explain(options, "slot-file", path);
    free(directory);
  }
  for (size_t j = 0; j < options->files; j++)
    if (!used[j]) explain(options, "no-file-slot", options->file[j]);
}

// In the pod: a descriptor of another mount namespace could not be dumped again.
static int open_file_slot(const struct slot *slot) {
  const char *path = slot->address != NULL ? slot->address : slot->field[0];
  int wanted = O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT | O_LARGEFILE | O_NOATIME;
  int flags = slot->flags & wanted, create = (flags & O_ACCMODE) == O_RDONLY ? 0 : O_CREAT;
  // A FIFO is never waited for: what it is read from or written to comes later.
  int fd = open(path, flags | create | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
  if (fd < 0) bail(EXIT_OURS, "cannot open %s for the slot %s:", path, slot->id);
  if (slot->address == NULL && (flags & O_APPEND) == 0) lseek(fd, atoll(slot->field[1]), SEEK_SET);
  return fd;
}

// In the pod: the program's own descriptors 0 to 2, where the image has slots for them.
void restore_fill_slots(struct run *run) {
  for (size_t i = 0; i < run->slots; i++) {
    struct slot *slot = &run->slot[i];
    if (slot->kind <= SLOT_STDERR) slot->fd = pod_open_stdio(run, (int)slot->kind);
    if (slot->kind == SLOT_FILE) slot->fd = open_file_slot(slot);
    // What is passed keeps its own flags in the kernel, so O_NONBLOCK has to be as the program left it: a blocking
    // end of a channel hangs it.
    int is_file = slot->kind <= SLOT_STDERR && run->stdio[slot->kind].kind != STDIO_PASS && run->stdio[slot->kind].kind != STDIO_PUMP;
    if (!is_file) set_nonblocking(slot->fd, (slot->flags & O_NONBLOCK) != 0);
  }
}
