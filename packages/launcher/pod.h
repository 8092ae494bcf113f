// The state of the inner launcher, shared by pod.c, supervise.c and worker.c.
#ifndef FORKPOINT_POD_H
#define FORKPOINT_POD_H

#include "launcher.h"

#define LINE_MAX_BYTES (64 << 10)
#define QUEUE_MAX 64
#define WORKER_BUFFER (1 << 20)

// One line on its way to somebody who blocks in opening a FIFO.
struct delivery {
  char *path, *line;
  pid_t pid;     // 0 while another delivery to the same FIFO is under way
  pid_t reader;  // who opens the FIFO; 0 when that is not known
};

struct pod {
  struct run *run;
  int signals, request, pty, pty_slave;
  pid_t program;
  int program_status, program_gone, published, orphaned, unrecorded;
  pid_t suspended;  // the process group that Ctrl-Z has stopped
  int lingering;  // the worker has more to do than its request, also after the program's end
  // The worker of the checkpoint under way.
  pid_t worker;
  int worker_status;  // of the last one that has ended
  pid_t spare;  // one that has served a fork and waits for the next request, up to this moment
  long long spare_until;
  char *given;  // the request that one of these has got and has not said a word about
  int to_worker, from_worker;
  char buffer[WORKER_BUFFER];
  size_t buffered;
  char *waiting[QUEUE_MAX];  // FIFOs that get `failed` when the worker dies
  size_t waits;
  char ask[72];  // of the request being served, when it came from outside
  pid_t asker;   // who asked for it by the plain protocol and blocks at `outcome`; 0 for all others
  // CRIU under way.
  pid_t criu;
  long long criu_started, criu_deadline;
  int asker_gone;  // whoever asked from outside has given it up
  int criu_given_up;  // its result is of no use; it only has to let the program go
  int stopped;  // a dump has left the program stopped
  int taken[SCM_FDS_MAX];  // the program's descriptors that its children shall have
  size_t takes;
  char *queue[QUEUE_MAX];  // requests to be served after the present one
  size_t queued;
  char line[LINE_MAX_BYTES];
  size_t line_length;
  struct delivery delivery[QUEUE_MAX];
  size_t deliveries;
};

extern struct pod pod;


// pod.c
void fail(int code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
void write_state(const char *text);
void make_member(long pid);
void unblock_signals(void);

// family.c
void take_descriptors(const struct record *record);
void drop_descriptors(void);
void start_child(const struct record *record);
void read_link(void);
void remove_forks(void);
void remove_stillborn(void);

// supervise.c
void pod_answer(const char *path, const char *line);
void start_deliveries(void);
void open_request(void);
void supervise(void) __attribute__((noreturn));

// peers.c
int unix_peers(struct text *text, size_t *count);

// worker.c
void start_worker(char *request);
void end_spare(void);
void spare_ended(void);
void reply(int result);
void tell_worker(const char *key, size_t count, char **fields);
void add_waiting(const char *path);
void read_worker(void);
void worker_ended(int status);
void give_up_request(const char *line);
void dump_is_late(void);
void end_group_of(pid_t criu);
void dump_ended(const char *status);
void next_request(void);

#endif
