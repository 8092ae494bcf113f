// What the launcher's files share. Overview: ARCHITECTURE.md, "A run" and "The worker and the launcher".
#ifndef FORKPOINT_LAUNCHER_H
#define FORKPOINT_LAUNCHER_H

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Exit codes for what fails before the program runs (docs: exit codes of `run` and `restore`).
#define EXIT_OURS 125
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127

#define SLOTS_MAX 256
#define SCM_FDS_MAX 253  // descriptors in one message (SCM_MAX_FD in include/net/scm.h)
#define CRIU_ARGS_MAX 1024

// One record of a plan: `key:n` and its n strings. The strings point into the plan's bytes.
struct record {
  const char *key;
  size_t count;
  char **field;
};

struct plan {
  struct record *record;
  size_t count;
};

// A growing string. Only for text built once; bounded by TEXT_MAX.
struct text {
  char *bytes;
  size_t length, capacity;
};

enum slot_kind { SLOT_STDIN, SLOT_STDOUT, SLOT_STDERR, SLOT_TCP, SLOT_UNIX, SLOT_FILE };

struct slot {
  enum slot_kind kind;
  const char *id, *key;
  int flags;     // the open flags that the image records; O_NONBLOCK is set again from them
  int pollable;  // the program waits for it with epoll: a regular file may not take its place
  char **field;  // what follows by kind, see ARCHITECTURE.md
  char *address; // tcp, unix: where it listens now; file: what --fd names, NULL for the file it was
  int fd;        // what fills it; -1 until known
};

// How one of the program's descriptors 0 to 2 is provided.
enum stdio_kind {
  STDIO_NULL,    // /dev/null, opened in the pod
  STDIO_LOG,     // the run's log, opened in the pod
  STDIO_REOPEN,  // a regular file or device, opened by path in the pod: CRIU cannot dump one that belongs to another mount namespace
  STDIO_PASS,    // an anonymous pipe, which belongs to no mount namespace
  STDIO_PUMP,    // anything else: a pipe whose other end the outer launcher serves
  STDIO_PTY,     // a terminal: a new one in the pod, which the outer launcher serves
};

struct stdio {
  enum stdio_kind kind;
  char *path;   // STDIO_REOPEN
  int flags;    // STDIO_REOPEN: open flags
  int inner;    // STDIO_PUMP, STDIO_PASS: the descriptor for the program
  int outer;    // STDIO_PUMP: our end
};

// A descriptor of the parent that fills a slot of the child, by the slot's id; -1 closes it.
struct inherited {
  const char *slot;
  int fd;
};

struct run {
  // From the run plan or the restore command.
  const char *id, *name, *home, *dir, *cwd, *command, *to, *to_cwd;
  char **argv, **env, **worker, **engine;
  int detach, json, reseed;
  long timeout_ms;  // of one call of CRIU
  // From the restore plan; `image` is NULL for a fresh program. `image_fd` is its directory, whatever takes its place.
  int image_fd;
  const char *image, *image_id, *parent_id, *ctl_mount, *env_json, *args_json, *new_cwd;
  long generation, root_pid, pid_base;
  long long taken_ms;
  int has_clock;
  long long clock[4];
  struct plan *plan;
  const char *preload;  // what CRIU is started with, see shim/ipc.c
  char **arguments;  // of the restore command, for the command line to explain a failure
  struct slot slot[SLOTS_MAX];
  size_t slots;
  // Of a child that a running program has forked; see child.c.
  const char *fork_json, *hostname;
  long index;       // -1 when there is none
  int logs, shares_ports;  // streams go to the run's log; listening sockets leave room for siblings
  int is_child, survives, life;  // `life`: the line to whoever forked; -1 when there is none
  long long grace_ms, ends_ms;   // time to end by itself once that line has ended, and when it is over; 0: none
  struct inherited *inherited;
  // Made on the way.
  struct stdio stdio[3];
  char ctl[4096];  // the control directory on the host
  int link[2];     // socket pair: [0] outer, [1] inner
  uid_t uid;       // ours outside of the pod
  long long started_ms;
  // Of a warm command line: what its program reads first, the file `warm` in the control directory.
  const char *given;
  size_t given_length;
  int ended_by;  // the signal that has ended the program, or 0
};

// util.c
void bail(int code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *must(void *pointer);
char *join(const char *first, ...);
char *read_file(const char *path, size_t limit, size_t *length);
int copy_file(const char *from, const char *to);
int exchange(const char *one, const char *other);
int write_file(const char *path, const char *bytes, size_t length, int flags);
int put(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
int plan_parse(char *bytes, size_t length, struct plan *plan, size_t *used);
const struct record *plan_find(const struct plan *plan, const char *key);
const char *plan_text(const struct plan *plan, const char *key, size_t index);
void text_add(struct text *text, const char *bytes, size_t length);
void text_print(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_json(struct text *text, const char *value);
int json_string(const char *line, const char *key, char *out, size_t size);
long json_integer(const char *line, const char *key);
long long now_ms(int clock);
int random_bytes(void *bytes, size_t length);
int set_nonblocking(int fd, int on);
int make_fifo(const char *path);
void remove_tree(const char *path);
void drop_capabilities(void);
void raise_ambient(void);
void cpu_words(uint32_t words[], size_t *count);
void exec_cli(const char *verb, const char *reason, const char *detail, char **arguments) __attribute__((noreturn));

// pod.c: the inner launcher, pid 1 of the pod
int pod_open_stdio(struct run *run, int fd);
void pod_exec_criu(struct run *run, const char *verb, size_t count, char **arguments) __attribute__((noreturn));
void inner_main(struct run *run) __attribute__((noreturn));

// child.c: children of a running program
extern int failure_fd;
int child_main(const char *path, char **fds);
void child_fill_slots(struct run *run);
void child_started(const struct run *run, pid_t inner);
void child_ended(struct run *run, int status);
int child_told(struct run *run);
void nursery_start(const char *order, int *fds, size_t count);
void nursery_reap(pid_t pid);
void nursery_close(const struct run *run, pid_t inner);

// restore.c: the restore command, and CRIU's part of it
int restore_main(int count, char **arguments);
pid_t restore_spawn(struct run *run);
void restore_fill_slots(struct run *run);
void close_slots(struct run *run);
void restore_again(char **arguments);

// warm.c: command lines that start from an image. `cold_command` is NULL for everything else; then nothing may be called.
extern char **cold_command;
void cold_start(const char *reason, const char *detail) __attribute__((noreturn));
void cold_forget(const char *run_directory);
int warm_main(const char *verb, char **arguments);
int restore_warm(struct run *run, char **arguments);

// layers.c: page files
int evict_main(char **files);

// probe.c: what this machine can do
int probe_main(void);
int notify_main(const char *text);

// outer.c: the outer launcher while the pod lives
int outer_serve(struct run *run);

// launcher.c
pid_t start_inner(struct run *run);
void write_run_record(struct run *run, pid_t inner, long root);
void announce(const struct run *run, pid_t inner);
int run_pod(struct run *run);
void stdio_classify(struct run *run, const int *pollable);
char **engine_prefix(const char *home);

#endif
