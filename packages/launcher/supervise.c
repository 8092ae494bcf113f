// The inner launcher's main loop: requests, answers, signals, CRIU's time limit, and the program's end.
#include "pod.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// How often it is looked whether the readers of waiting answers still live.
#define DELIVERY_LOOK_MS 500

// Waits in open(2) until the reader is there, and writes the line. Before that it puts a fresh FIFO at the path: whoever
// opens it after reading this line then waits for the next one instead of meeting our end, which is still being closed, and
// the next line cannot reach the reader of this one.
static void deliver_main(const struct delivery *delivery) {
  alarm(3600);
  unblock_signals();
  // The worker's pipes among them: it would not see their end while a copy is open here.
  syscall(SYS_close_range, 3, ~0U, 0);
  int fd = open(delivery->path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) _exit(1);
  signal(SIGPIPE, SIG_IGN);
  char *fresh = join(delivery->path, ".new", NULL);
  if (make_fifo(fresh) != 0 || rename(fresh, delivery->path) != 0) warn("cannot renew %s:", delivery->path);
  size_t length = strlen(delivery->line);
  for (size_t done = 0; done < length;) {
    ssize_t count = write(fd, delivery->line + done, length - done);
    if (count < 0 && errno != EINTR) _exit(1);
    if (count > 0) done += (size_t)count;
  }
  _exit(0);
}

void start_deliveries(void) {
  for (size_t i = 0; i < pod.deliveries; i++) {
    struct delivery *delivery = &pod.delivery[i];
    int blocked = delivery->pid != 0;
    for (size_t j = 0; j < i; j++) blocked |= strcmp(pod.delivery[j].path, delivery->path) == 0;
    if (blocked) continue;
    delivery->pid = fork();
    if (delivery->pid == 0) {
      prctl(PR_SET_NAME, "fp-deliver");
      deliver_main(delivery);
    }
  }
}

// Whether a process of the pod has ended, though its parent may not have noticed yet.
static int has_ended(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  char *stat = read_file(path, 8192, NULL), *end = stat != NULL ? strrchr(stat, ')') : NULL;
  int ended = end == NULL || end[1] == 0 || end[2] == 'Z' || end[2] == 'X';
  free(stat);
  return ended;
}

// Nobody will ever read what is meant for a process that was killed while it waited; the next one to have its pid, or to
// ask at the same FIFO, must not get it.
static void drop_deliveries(void) {
  for (size_t i = 0; i < pod.deliveries; i++)
    if (pod.delivery[i].pid != 0 && pod.delivery[i].reader != 0 && has_ended(pod.delivery[i].reader))
      kill(pod.delivery[i].pid, SIGKILL);
}

static pid_t reader_of(const char *path) {
  const char *member = strstr(path, "/members/");
  return member != NULL ? (pid_t)atol(member + strlen("/members/")) : pod.asker;
}

void pod_answer(const char *path, const char *line) {
  for (size_t i = 0; i < pod.waits; i++)
    if (strcmp(pod.waiting[i], path) == 0) {
      free(pod.waiting[i]);
      pod.waiting[i--] = pod.waiting[--pod.waits];
    }
  if (pod.deliveries == QUEUE_MAX) {
    warn("too many answers are waiting to be read; one for %s is dropped", path);
    return;
  }
  struct delivery *delivery = &pod.delivery[pod.deliveries++];
  delivery->path = must(strdup(path));
  size_t length = strlen(line);
  delivery->line = join(line, length > 0 && line[length - 1] == '\n' ? "" : "\n", NULL);
  delivery->pid = 0;
  delivery->reader = reader_of(path);
  start_deliveries();
}

// Whoever blocks for this request would wait for ever once its worker is gone.
static void note_asker(const char *op, long pid) {
  char path[4200];
  if ((strcmp(op, "checkpoint") == 0 || strcmp(op, "fork") == 0) && pid > 0) snprintf(path, sizeof path, "%s/outcome", pod.run->ctl_mount);
  else if (strcmp(op, "prepare") == 0 || strcmp(op, "ready") == 0)
    snprintf(path, sizeof path, "%s/members/%ld/outcome", pod.run->ctl_mount, pid);
  else return;
  for (size_t i = 0; i < pod.waits; i++)
    if (strcmp(pod.waiting[i], path) == 0) return;
  add_waiting(path);
}

void next_request(void) {
  if (pod.program_gone || pod.worker != 0 || pod.criu != 0 || pod.queued == 0) return;
  char *line = pod.queue[0], op[32];
  memmove(pod.queue, pod.queue + 1, --pod.queued * sizeof *pod.queue);
  pod.asker = 0;
  if (json_string(line, "op", op, sizeof op) == 0) {
    note_asker(op, json_integer(line, "pid"));
    if (strcmp(op, "checkpoint") == 0 && json_integer(line, "pid") > 0) pod.asker = (pid_t)json_integer(line, "pid");
  }
  if (json_integer(line, "pid") != 0 || json_string(line, "ask", pod.ask, sizeof pod.ask) != 0 || strchr(pod.ask, '/') != NULL)
    pod.ask[0] = 0;
  start_worker(line);
  free(line);
}

static void handle_request(char *line) {
  char op[32];
  long pid = json_integer(line, "pid");
  if (json_string(line, "op", op, sizeof op) != 0) {
    warn("a request without `op` is ignored: %.200s", line);
  } else if (strcmp(op, "join") == 0) {
    if (pid > 0) make_member(pid);
  } else if (strcmp(op, "cancel") == 0 && pid == 0) {
    give_up_request(line);
  } else if (strcmp(op, "ready") == 0 || strcmp(op, "cancel") == 0) {
    if (pod.worker != 0) {
      note_asker(op, pid);
      tell_worker("request", 1, &line);
    } else if (strcmp(op, "ready") == 0) {
      char path[4200];
      snprintf(path, sizeof path, "%s/members/%ld/outcome", pod.run->ctl_mount, pid);
      pod_answer(path, "{\"v\":1,\"outcome\":\"failed\",\"code\":\"ERR_FORKPOINT_TOO_LATE\","
                       "\"message\":\"The checkpoint was given up before this process was ready.\"}");
    }
  } else if (pod.queued < QUEUE_MAX) {
    pod.queue[pod.queued++] = must(strdup(line));
    // A worker that is only tidying up makes room.
    if (pod.worker != 0) tell_worker("hurry", 0, NULL);
    next_request();
  } else {
    warn("more than %d requests are waiting; one is dropped", QUEUE_MAX);
  }
}

void open_request(void) {
  char *path = join(pod.run->ctl_mount, "/request", NULL);
  // Open to writing as well, so that it never comes to its end: to open it anew behind each writer could fail, and the program
  // would end with its launcher.
  pod.request = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (pod.request < 0) fail(EXIT_OURS, "cannot open %s:", path);
  free(path);
}

static void read_requests(void) {
  ssize_t count = read(pod.request, pod.line + pod.line_length, sizeof pod.line - pod.line_length - 1);
  if (count <= 0) return;
  pod.line_length += (size_t)count;
  char *start = pod.line, *end;
  while ((end = memchr(start, '\n', pod.line_length - (size_t)(start - pod.line))) != NULL) {
    *end = 0;
    if (end > start) handle_request(start);
    start = end + 1;
  }
  pod.line_length -= (size_t)(start - pod.line);
  memmove(pod.line, start, pod.line_length);
  if (pod.line_length == sizeof pod.line - 1) {
    warn("a request longer than %d bytes is ignored", LINE_MAX_BYTES);
    pod.line_length = 0;
  }
}

// ---- life and death ----

// The run's links to page files would hold their bytes after every image has gone.
static void remove_layers(void) {
  char *path = join(pod.run->ctl_mount, "/layers", NULL);
  DIR *directory = opendir(path);
  for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
    if (entry->d_name[0] != '.') unlinkat(dirfd(directory), entry->d_name, 0);
  if (directory != NULL) closedir(directory);
  free(path);
}

// Longest time for a worker to tidy up behind the program's end, in milliseconds.
#define LINGER_MS 600000

static long long gone_ms;

// Says that the program has ended, once: to whoever reads the run's state, and to the outer launcher.
static int farewell(void) {
  int status = pod.program_status;
  int code = pod.published ? 0 : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  char text[32];
  if (gone_ms != 0) return code;
  gone_ms = now_ms(CLOCK_MONOTONIC);
  remove_layers();
  remove_forks();
  // What it listened at is free from now on, also while this process lingers.
  for (size_t i = 0; i < pod.run->slots; i++)
    if (pod.run->slot[i].kind == SLOT_TCP || pod.run->slot[i].kind == SLOT_UNIX) close(pod.run->slot[i].fd);
  snprintf(text, sizeof text, "ended %d", pod.published ? 0 : status);
  if (pod.run->link[1] >= 0) send(pod.run->link[1], text, strlen(text), MSG_NOSIGNAL);
  snprintf(text, sizeof text, "exited %d\n", code);
  write_state(text);
  if (!pod.lingering || pod.worker == 0) return code;
  // The caller need not wait for the rest, nor does it end with the caller.
  if (pod.run->link[1] >= 0) {
    send(pod.run->link[1], text, strlen(text), MSG_NOSIGNAL);
    close(pod.run->link[1]);
    pod.run->link[1] = -1;
  }
  if (pod.pty >= 0) close(pod.pty);
  pod.pty = -1;
  return code;
}

static int lingers(void) {
  return pod.lingering && pod.worker != 0 && (gone_ms == 0 || now_ms(CLOCK_MONOTONIC) < gone_ms + LINGER_MS);
}

static void end_pod(void) __attribute__((noreturn));
static void end_pod(void) {
  end_spare();
  // The worker sees the end of its input, removes what it has half made, and leaves.
  if (pod.worker != 0) {
    if (pod.to_worker >= 0) close(pod.to_worker);
    long long deadline = now_ms(CLOCK_MONOTONIC) + 5000;
    struct timespec pause = {0, 2000000};
    while (waitpid(pod.worker, NULL, WNOHANG) == 0 && now_ms(CLOCK_MONOTONIC) < deadline) nanosleep(&pause, NULL);
  }
  int code = farewell();
  // Here, because this process outlives every other one of the pod.
  if (pod.orphaned) remove_stillborn();
  // Nobody looks for the run behind a command line.
  if (pod.unrecorded || pod.run->given != NULL || (pod.run->is_child && !pod.run->survives)) remove_tree(pod.run->dir);
  // A detached child leaves its record and its log; its image was made for it alone.
  if (pod.run->is_child) remove_tree(join(pod.run->dir, "/image", NULL));
  remove_tree(join(pod.run->dir, "/ctl", NULL));
  _exit(code);
}

static void reap(void) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid == pod.program) {
      pod.program_status = status;
      pod.program_gone = 1;
    } else if (pid == pod.worker) {
      worker_ended(status);
    } else if (pid == pod.spare) {
      spare_ended();
    } else if (pid == pod.criu) {
      if (status != 0) end_group_of(pid);
      char text[16];
      snprintf(text, sizeof text, "%d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
      dump_ended(text);
    } else {
      for (size_t i = 0; i < pod.deliveries; i++) {
        if (pod.delivery[i].pid != pid) continue;
        free(pod.delivery[i].path);
        free(pod.delivery[i].line);
        memmove(&pod.delivery[i], &pod.delivery[i + 1], (--pod.deliveries - i) * sizeof *pod.delivery);
        start_deliveries();
        break;
      }
    }
  }
}

// Whether a process catches or ignores SIGTSTP.
static int has_own_stop(pid_t pid) {
  char path[64];
  int result = 0;
  snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  char *status = read_file(path, 16384, NULL);
  for (int i = 0; status != NULL && i < 2; i++) {
    char *line = strstr(status, i == 0 ? "SigIgn:" : "SigCgt:");
    if (line != NULL) result |= (int)(strtoull(line + 7, NULL, 16) >> (SIGTSTP - 1)) & 1;
  }
  free(status);
  return result;
}

// Ctrl-Z was typed. The kernel does nothing with it here, because no process of the pod's session has a shell as its parent
// (an orphaned process group, setpgid(2)). So the launcher stops the group, unless it does something of its own at Ctrl-Z.
static void suspend_program(void) {
  pid_t group = 0;
  if (pod.run->detach) return;
  if (pod.pty < 0 || ioctl(pod.pty, TIOCGPGRP, &group) != 0 || group <= 0) group = getpgid(pod.program);
  if (group <= 1 || has_own_stop(group) || kill(-group, SIGSTOP) != 0) return;
  pod.suspended = group;
  send(pod.run->link[1], "suspended", 9, MSG_NOSIGNAL);
}

static void forward(int number) {
  if (number == SIGTSTP) {
    suspend_program();
  } else if (number == SIGCONT && pod.suspended != 0) {
    kill(-pod.suspended, SIGCONT);
    pod.suspended = 0;
  } else if (number != SIGWINCH || pod.pty < 0 || pod.run->image != NULL) {
    kill(pod.program, number);
  }
}

static void read_signals(void) {
  struct signalfd_siginfo info;
  while (read(pod.signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) reap();
    else if (pod.program_gone) pod.lingering = 0;
    else forward((int)info.ssi_signo);
  }
}

void supervise(void) {
  // A restored program may have ended while CRIU was being waited for: its SIGCHLD has been read by then.
  reap();
  while (!pod.program_gone || lingers()) {
    if (pod.program_gone) farewell();
    struct pollfd fds[4] = {{pod.signals, POLLIN, 0},
                            {pod.program_gone ? -1 : pod.request, POLLIN, 0},
                            {pod.from_worker, POLLIN, 0},
                            {pod.run->link[1], POLLIN, 0}};
    int timeout = -1;
    if (pod.criu != 0) {
      long long left = pod.criu_deadline - now_ms(CLOCK_MONOTONIC);
      timeout = left > 0 ? (int)left : 0;
    }
    if (pod.deliveries > 0 && (timeout < 0 || timeout > DELIVERY_LOOK_MS)) timeout = DELIVERY_LOOK_MS;
    if (pod.spare != 0 && pod.criu == 0) {
      long long left = pod.spare_until - now_ms(CLOCK_MONOTONIC);
      if (timeout < 0 || left < timeout) timeout = left > 0 ? (int)left : 0;
    }
    if (pod.program_gone) timeout = 1000;
    if (poll(fds, 4, timeout) < 0 && errno != EINTR) break;
    drop_deliveries();
    if (fds[2].revents != 0) read_worker();
    if (fds[1].revents != 0) read_requests();
    if (fds[3].revents != 0) read_link();
    if (fds[0].revents != 0) read_signals();
    if (pod.criu != 0 && now_ms(CLOCK_MONOTONIC) >= pod.criu_deadline) dump_is_late();
    if (pod.spare != 0 && now_ms(CLOCK_MONOTONIC) >= pod.spare_until) end_spare();
  }
  end_pod();
}

