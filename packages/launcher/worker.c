// The checkpoint worker, as the launcher sees it: started for one request, spoken to over two pipes, and CRIU run for it.
#include "pod.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Longest time in milliseconds for CRIU to let the program go once its result is of no use any more.
#define LET_GO_MS 20000
// How long a worker that has served a fork is kept for the next one, in milliseconds, unless FORKPOINT_SPARE_MS says it.
#define SPARE_MS 30000

// The log of a run that is asked for ever gets no longer than this, and then goes on with its last part, from a line's beginning.
#define LOG_MAX (4 << 20)
#define LOG_KEPT (1 << 20)

// Called when nobody but this process writes to it.
static void trim_log(void) {
  struct stat status;
  if (fstat(2, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= LOG_MAX) return;
  char *path = join(pod.run->dir, "/launcher.log", NULL), *kept = must(malloc(LOG_KEPT));
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : pread(fd, kept, LOG_KEPT, status.st_size - LOG_KEPT);
  char *line = length > 0 ? memchr(kept, '\n', (size_t)length) : NULL;
  if (line != NULL && ftruncate(2, 0) == 0 && write(2, line + 1, (size_t)(kept + length - line - 1)) < 0) warn("the log was cut:");
  if (fd >= 0) close(fd);
  free(kept);
  free(path);
}

void tell_worker(const char *first, size_t count, char **fields) {
  struct text text = {0};
  if (pod.to_worker < 0) return;
  text_print(&text, "%s:%zu", first, count);
  text_add(&text, "", 1);
  for (size_t i = 0; i < count; i++) text_add(&text, fields[i], strlen(fields[i]) + 1);
  size_t done = 0;
  while (done < text.length) {
    ssize_t n = write(pod.to_worker, text.bytes + done, text.length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;  // It has died; SIGCHLD says so.
    done += (size_t)n;
  }
  free(text.bytes);
}

static void worker_main(struct run *run, int in, int out) {
  uint32_t words[16];
  char number[32], cpu[256];
  size_t count, length = 0;
  dup2(in, 0);
  dup2(out, 1);
  syscall(SYS_close_range, 3, ~0U, 0);
  unblock_signals();
  cpu_words(words, &count);
  for (size_t i = 0; i < count; i++) length += (size_t)snprintf(cpu + length, sizeof cpu - length, i > 0 ? " %08x" : "%08x", words[i]);
  snprintf(number, sizeof number, "%d", (int)pod.program);
  unsetenv("LD_PRELOAD");
  unsetenv("NODE_OPTIONS");
  unsetenv("FORKPOINT_DIR");
  setenv("FORKPOINT_RUN_DIR", run->dir, 1);
  setenv("FORKPOINT_HOME", run->home, 1);
  setenv("FORKPOINT_ROOT_PID", number, 1);
  setenv("FORKPOINT_CPU", cpu, 1);
  setenv("FORKPOINT_CTL", run->ctl_mount, 1);
  if (run->to != NULL) setenv("FORKPOINT_TO", run->to, 1);
  if (run->to_cwd != NULL) setenv("FORKPOINT_TO_CWD", run->to_cwd, 1);
  drop_capabilities();
  execvp(run->worker[0], run->worker);
  warn("cannot execute the worker %s:", run->worker[0]);
  _exit(EXIT_NOT_FOUND);
}

static void close_worker(void) {
  if (pod.from_worker >= 0) close(pod.from_worker);
  if (pod.to_worker >= 0) close(pod.to_worker);
  pod.to_worker = pod.from_worker = -1;
}

// Somebody may have killed it just now.
static int spare_lives(void) {
  if (pod.spare != 0 && waitpid(pod.spare, NULL, WNOHANG) != 0) spare_ended();
  return pod.spare != 0;
}

static void forget_given(void) {
  free(pod.given);
  pod.given = NULL;
}

void spare_ended(void) {
  close_worker();
  pod.spare = 0;
}

// It has nothing under way, so that it may go as it stands.
void end_spare(void) {
  if (pod.spare == 0) return;
  kill(pod.spare, SIGKILL);
  while (waitpid(pod.spare, NULL, 0) < 0 && errno == EINTR) continue;
  spare_ended();
}

void start_worker(char *request) {
  int in[2], out[2];
  pod.asker_gone = 0;
  trim_log();
  if (spare_lives()) {
    pod.worker = pod.spare;
    pod.spare = 0;
    pod.given = must(strdup(request));
    tell_worker("next", 1, &request);
    return;
  }
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
    warn("cannot start a worker:");
    return;
  }
  pod.worker = fork();
  if (pod.worker == 0) worker_main(pod.run, in[0], out[1]);
  close(in[0]);
  close(out[1]);
  pod.to_worker = in[1];
  pod.from_worker = out[0];
  set_nonblocking(pod.from_worker, 1);
  pod.buffered = 0;
  tell_worker("request", 1, &request);
}

void add_waiting(const char *path) {
  if (pod.waits < QUEUE_MAX) pod.waiting[pod.waits++] = must(strdup(path));
}

static void give_up_dump(void);

static void start_dump(const struct record *record) {
  long limit = record->count > 0 ? atol(record->field[0]) : 0;
  pod.criu_given_up = 0;
  pod.criu = fork();
  // A group of its own, so that it can be ended with the processes that it starts.
  setpgid(pod.criu, 0);
  if (pod.criu == 0) {
    signal(SIGXFSZ, SIG_IGN);  // See give_up_dump.
    pod_exec_criu(pod.run, "dump", record->count - 1, record->field + 1);
  }
  pod.criu_started = now_ms(CLOCK_MONOTONIC);
  pod.criu_deadline = pod.criu_started + (limit > 0 ? limit : pod.run->timeout_ms);
  for (size_t i = 0; i < record->count; i++) pod.stopped |= strcmp(record->field[i], "--leave-stopped") == 0;
  // The worker may have asked for it before it heard.
  if (pod.asker_gone) give_up_dump();
}

// Ends what a CRIU that has gone has started, and reaps it: the next worker must not find it in the pod.
void end_group_of(pid_t criu) {
  kill(-criu, SIGKILL);
  while (waitpid(-criu, NULL, 0) > 0 || errno == EINTR) continue;
}

// Nobody wants the result any more. A CRIU that is killed leaves the program with whatever it was just doing in there: code
// of its own in place of the program's, of which that dies. So its next write to the image fails, as on a full disk, and it
// lets the program go by itself.
static void give_up_dump(void) {
  struct rlimit nothing = {0, 0};
  pod.criu_given_up = 1;
  pod.criu_deadline = now_ms(CLOCK_MONOTONIC) + LET_GO_MS;
  if (prlimit(pod.criu, RLIMIT_FSIZE, &nothing, NULL) != 0) warn("CRIU cannot be given up and has to be waited for:");
}

void dump_is_late(void) {
  if (!pod.criu_given_up) {
    give_up_dump();
  } else {
    kill(pod.criu, SIGKILL);
    pod.criu_deadline = now_ms(CLOCK_MONOTONIC) + LET_GO_MS;
  }
}

static void clear_up(void);

void dump_ended(const char *status) {
  char milliseconds[32];
  if (pod.criu_given_up) status = "timeout";
  snprintf(milliseconds, sizeof milliseconds, "%lld", now_ms(CLOCK_MONOTONIC) - pod.criu_started);
  char *fields[] = {(char *)status, milliseconds};
  pod.criu = 0;
  // CRIU lets the tasks go when it fails or dies; a stop signal that it had already queued is undone here.
  if (strcmp(status, "0") != 0 && pod.stopped) {
    kill(-1, SIGCONT);
    pod.stopped = 0;
  }
  if (pod.worker != 0) tell_worker("dumped", 2, fields);
  else clear_up();
}

void reply(int result) {
  if (result == 0) {
    tell_worker("ok", 0, NULL);
  } else {
    char name[16];
    snprintf(name, sizeof name, "%d", errno);
    char *fields[] = {name};
    tell_worker("error", 1, fields);
  }
}

// Answers with one field for each unix socket, or with the error.
static void tell_peers(void) {
  struct text text = {0};
  size_t count = 0, at = 0;
  if (unix_peers(&text, &count) != 0) {
    reply(-1);
  } else {
    char **fields = must(calloc(count + 1, sizeof *fields));
    for (size_t i = 0; i < count; i++, at += strlen(text.bytes + at) + 1) fields[i] = text.bytes + at;
    tell_worker("peers", count, fields);
    free(fields);
  }
  free(text.bytes);
}

// Who forks once forks again: a worker that need not start, and whose code is compiled by then, takes a third of the time.
static void keep_worker(void) {
  const char *limit = getenv("FORKPOINT_SPARE_MS");
  if (pod.worker == 0) return;
  pod.spare = pod.worker;
  pod.spare_until = now_ms(CLOCK_MONOTONIC) + (limit != NULL ? atol(limit) : SPARE_MS);
  pod.worker = pod.worker_status = 0;
  clear_up();
}

static void obey_worker(const struct record *record) {
  char **field = record->field;
  // What a worker that was killed had still asked for: everybody is told that nothing was changed.
  if (pod.worker == 0 && (strcmp(record->key, "dump") == 0 || strcmp(record->key, "exchange") == 0)) return;
  if (strcmp(record->key, "dump") == 0 && record->count > 0 && pod.criu == 0) start_dump(record);
  else if (strcmp(record->key, "answer") == 0 && record->count == 2) pod_answer(field[0], field[1]);
  else if (strcmp(record->key, "waiting") == 0 && record->count == 1) add_waiting(field[0]);
  else if (strcmp(record->key, "mkfifo") == 0 && record->count == 1) reply(make_fifo(field[0]));
  else if (strcmp(record->key, "peers") == 0) tell_peers();
  else if (strcmp(record->key, "take") == 0) take_descriptors(record);
  else if (strcmp(record->key, "child") == 0 && record->count >= 2) start_child(record);
  else if (strcmp(record->key, "exchange") == 0 && record->count == 2)
    reply(exchange(field[0], field[1]));
  else if (strcmp(record->key, "resume") == 0) {
    for (size_t i = 0; i < record->count; i++)
      if (atol(field[i]) > 1) kill((pid_t)atol(field[i]), SIGCONT);
    pod.stopped = 0;
  } else if (strcmp(record->key, "answered") == 0) {
    pod.ask[0] = 0;
  } else if (strcmp(record->key, "done") == 0) {
    keep_worker();
  } else if (strcmp(record->key, "linger") == 0) {
    pod.lingering = 1;
  } else if (strcmp(record->key, "stop") == 0) {
    pod.published = 1;
    kill(pod.program, SIGKILL);
  } else {
    warn("the worker said `%s` with %zu fields, which is not understood", record->key, record->count);
  }
}

void read_worker(void) {
  ssize_t count = read(pod.from_worker, pod.buffer + pod.buffered, sizeof pod.buffer - pod.buffered);
  if (count <= 0) {
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      close(pod.from_worker);
      pod.from_worker = -1;
    }
    return;
  }
  pod.buffered += (size_t)count;
  struct plan plan;
  size_t used = 0;
  // Only records whose last byte has arrived: the key of an incomplete one must stay as it is.
  if (plan_parse(pod.buffer, pod.buffered, &plan, &used) != 0) {
    warn("the worker sent something malformed; it is ended");
    kill(pod.worker, SIGKILL);
    return;
  }
  if (plan.count > 0) forget_given();
  for (size_t i = 0; i < plan.count; i++) {
    obey_worker(&plan.record[i]);
    free(plan.record[i].field);
  }
  free(plan.record);
  pod.buffered -= used;
  memmove(pod.buffer, pod.buffer + used, pod.buffered);
}

// A command outside waits for a file of its own, of which the name is what it asked with.
static void answer_file(const char *ask, const char *line) {
  char *path = join(pod.run->dir, "/results/", ask, ".json", NULL), *draft = join(path, ".new", NULL);
  if (access(path, F_OK) != 0 && (write_file(draft, line, strlen(line), O_CREAT | O_TRUNC) != 0 || rename(draft, path) != 0))
    warn("cannot write %s:", path);
  free(path);
  free(draft);
}

// The worker writes the answer and says so, unless it died.
static void answer_outside(int status) {
  char line[256];
  snprintf(line, sizeof line, "{\"v\":1,\"outcome\":\"failed\",\"code\":\"ERR_FORKPOINT_WORKER\",\"message\":"
           "\"The checkpoint worker ended early (status %d); nothing was changed.\"}\n", status);
  if (pod.ask[0] != 0 && status != 0) answer_file(pod.ask, line);
  pod.ask[0] = 0;
}

// Whoever asked from outside has given up. A request that waits is taken back; the worker that has it is told, and CRIU lets
// the program go. What was done before is answered as ever.
void give_up_request(const char *line) {
  char ask[sizeof pod.ask], other[sizeof pod.ask];
  if (json_string(line, "ask", ask, sizeof ask) != 0 || ask[0] == 0 || strchr(ask, '/') != NULL) return;
  if (pod.worker != 0 && strcmp(pod.ask, ask) == 0) {
    pod.asker_gone = 1;
    tell_worker("give-up", 0, NULL);
    if (pod.criu != 0 && !pod.criu_given_up) give_up_dump();
    return;
  }
  for (size_t i = 0; i < pod.queued; i++) {
    if (json_integer(pod.queue[i], "pid") != 0 || json_string(pod.queue[i], "ask", other, sizeof other) != 0 || strcmp(ask, other) != 0) continue;
    free(pod.queue[i]);
    memmove(pod.queue + i, pod.queue + i + 1, (--pod.queued - i) * sizeof *pod.queue);
    answer_file(ask, "{\"v\":1,\"outcome\":\"failed\",\"code\":\"ERR_FORKPOINT_CANCELLED\",\"message\":"
                     "\"The checkpoint was given up before it began.\"}\n");
    return;
  }
}

// What is left to do for a worker that has ended, once CRIU has too: the next worker must not find that in the pod.
static void clear_up(void) {
  int status = pod.worker_status;
  drop_descriptors();
  if (status != 0) remove_forks();
  if (pod.stopped && !pod.published) kill(-1, SIGCONT);
  pod.stopped = 0;
  while (pod.waits > 0) {
    char *path = must(strdup(pod.waiting[0])), line[256];
    snprintf(line, sizeof line, "{\"v\":1,\"outcome\":\"failed\",\"code\":\"ERR_FORKPOINT_WORKER\",\"message\":"
             "\"The checkpoint worker ended early (status %d); nothing was changed.\"}", status);
    pod_answer(path, line);
    free(path);
  }
  answer_outside(status);
  next_request();
}

void worker_ended(int status) {
  pod.worker = pod.lingering = 0;
  pod.worker_status = status;
  while (pod.from_worker >= 0) {
    size_t before = pod.buffered;
    read_worker();
    if (pod.from_worker >= 0 && pod.buffered == before) break;
  }
  close_worker();
  if (pod.given != NULL && !pod.asker_gone) {
    // It had been killed before it could read the request, of which nobody else shall suffer.
    char *request = pod.given;
    pod.given = NULL;
    start_worker(request);
    free(request);
    return;
  }
  forget_given();
  if (pod.criu != 0) give_up_dump();
  else clear_up();
}
