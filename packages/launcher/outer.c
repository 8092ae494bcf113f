// The outer launcher's work while the pod lives: it serves the terminal and the pipes that could not be handed through,
// forwards signals, and learns from the inner launcher how things stand.
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
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
#include <termios.h>
#include <time.h>
#include <unistd.h>

// How often a command in the background looks whether it has its terminal again.
#define BACKGROUND_LOOK_MS 200

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

// The caller's terminal, to be put back on every way out.
static struct termios terminal_before;
static int terminal_fd = -1;

static void restore_terminal(void) {
  if (terminal_fd >= 0) tcsetattr(terminal_fd, TCSADRAIN, &terminal_before);
  terminal_fd = -1;
}

// A direction of bytes between the caller and the pod.
struct pump {
  int from, to;
  char buffer[16384];
  size_t length, done;
  int ended;  // nothing more will come from `from`
};

struct outer {
  struct run *run;
  pid_t inner;
  int signals, master;
  struct pump pump[5];
  size_t pumps;
  int started, exit_code, inner_gone;
  int status;  // the program's wait status; that of SIGKILL until the inner launcher tells
  char *failure;
};

// Raw for what is typed; output stays processed unless all three descriptors are the terminal, because somebody else
// may be writing to it through a pipe.
static void terminal_raw(struct outer *outer) {
  const struct stdio *stdio = outer->run->stdio;
  if (stdio[0].kind != STDIO_PTY || (stdio[1].kind != STDIO_PTY && stdio[2].kind != STDIO_PTY)) return;
  if (tcgetpgrp(0) != getpgrp() || tcgetattr(0, &terminal_before) != 0) return;
  struct termios raw = terminal_before;
  cfmakeraw(&raw);
  if (stdio[1].kind != STDIO_PTY || stdio[2].kind != STDIO_PTY) raw.c_oflag = terminal_before.c_oflag;
  terminal_fd = 0;
  atexit(restore_terminal);
  tcsetattr(0, TCSADRAIN, &raw);
}

static int terminal_of(const struct run *run) {
  for (int fd = 0; fd < 3; fd++)
    if (run->stdio[fd].kind == STDIO_PTY) return fd;
  return -1;
}

static void copy_window_size(struct outer *outer) {
  struct winsize size;
  int fd = terminal_of(outer->run);
  if (fd >= 0 && outer->master >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0) ioctl(outer->master, TIOCSWINSZ, &size);
}

static void add_pump(struct outer *outer, int from, int to) {
  struct pump *pump = &outer->pump[outer->pumps++];
  memset(pump, 0, sizeof *pump);
  pump->from = from;
  pump->to = to;
}

// The pod's terminal has arrived from the inner launcher.
static void serve_terminal(struct outer *outer, int master) {
  const struct stdio *stdio = outer->run->stdio;
  outer->master = master;
  copy_window_size(outer);
  int out = stdio[1].kind == STDIO_PTY ? 1 : stdio[2].kind == STDIO_PTY ? 2 : 0;
  add_pump(outer, master, out);
  if (stdio[0].kind == STDIO_PTY) add_pump(outer, 0, master);
  terminal_raw(outer);
}

// Whether what is typed is meant for us; a job in the background that reads its terminal is stopped by it.
static int in_foreground(const struct outer *outer) {
  return outer->run->stdio[0].kind != STDIO_PTY || tcgetpgrp(0) == getpgrp();
}

// The inner launcher has stopped the program: stops ourselves as well, so that the caller's shell has its terminal back.
// Goes on with `fg` or `bg`, or at once where there is no shell that could do so.
static void suspend(struct outer *outer) {
  restore_terminal();
  kill(0, SIGTSTP);
  kill(outer->inner, SIGCONT);
  terminal_raw(outer);
  copy_window_size(outer);
}

// Ctrl-Z: whether it stops the program is for the inner launcher to decide.
static void typed_suspend(const struct outer *outer, const char *bytes, size_t length) {
  struct termios inner;
  if (tcgetattr(outer->master, &inner) != 0 || !(inner.c_lflag & ISIG) || inner.c_cc[VSUSP] == 0) return;
  if (memchr(bytes, inner.c_cc[VSUSP], length) != NULL) kill(outer->inner, SIGTSTP);
}

// A restored program has no controlling terminal, so the pod's terminal cannot turn typed characters into signals: the
// launcher does, by the terminal's own settings.
static void typed_signals(struct outer *outer, const char *bytes, size_t length) {
  struct termios inner;
  pid_t group;
  if (ioctl(outer->master, TIOCGPGRP, &group) == 0 && group > 0) return;
  if (tcgetattr(outer->master, &inner) != 0 || !(inner.c_lflag & ISIG)) return;
  for (size_t i = 0; i < length; i++) {
    if ((cc_t)bytes[i] == inner.c_cc[VINTR]) kill(outer->inner, SIGINT);
    if ((cc_t)bytes[i] == inner.c_cc[VQUIT]) kill(outer->inner, SIGQUIT);
  }
}

static void pump_step(struct outer *outer, struct pump *pump, short events_in, short events_out) {
  if (pump->done == pump->length && (events_in & (POLLIN | POLLHUP | POLLERR))) {
    ssize_t count = read(pump->from, pump->buffer, sizeof pump->buffer);
    if (count > 0) {
      pump->length = (size_t)count;
      pump->done = 0;
      if (pump->to == outer->master) {
        typed_signals(outer, pump->buffer, pump->length);
        typed_suspend(outer, pump->buffer, pump->length);
      }
      events_out = POLLOUT;
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      pump->ended = 1;
    }
  }
  if (pump->done < pump->length && (events_out & (POLLOUT | POLLERR))) {
    ssize_t count = write(pump->to, pump->buffer + pump->done, pump->length - pump->done);
    if (count > 0) pump->done += (size_t)count;
    else if (count < 0 && errno != EAGAIN && errno != EINTR) {
      // Nobody reads any more. A child that outlives its parent writes on into nothing.
      pump->done = pump->length;
      pump->ended = !outer->run->survives;
    }
  }
  if (pump->ended && pump->done == pump->length && pump->to > 2 && pump->to != outer->master) {
    close(pump->to);  // The program sees the end of its input.
    pump->to = -1;
  }
}

// What the inner launcher says: `started PID`, `suspended`, `failed CODE text`, `ended STATUS`, `exited CODE` when it stays a
// little longer than the program, `terminal` and `child DETACHED PLAN`, the last two with descriptors in the ancillary data.
static void read_link(struct outer *outer) {
  static int fds[SCM_FDS_MAX];
  char buffer[8192], control[CMSG_SPACE(sizeof fds)];
  struct iovec part = {buffer, sizeof buffer - 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t count = recvmsg(outer->run->link[0], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count <= 0) {
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) close(outer->run->link[0]), outer->run->link[0] = -1;
    return;
  }
  buffer[count] = 0;
  size_t passed = 0;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header != NULL && header->cmsg_type == SCM_RIGHTS) {
    passed = (header->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
    memcpy(fds, CMSG_DATA(header), passed * sizeof *fds);
  }
  if (strncmp(buffer, "child ", 6) == 0) nursery_start(buffer + 6, fds, passed);
  else if (passed == 1) serve_terminal(outer, fds[0]);
  else if (strncmp(buffer, "started ", 8) == 0) {
    outer->started = 1;
    // A restored program has not seen this terminal yet, which may be of another size than its last one.
    if (outer->master >= 0 && outer->run->image != NULL) {
      copy_window_size(outer);
      kill(outer->inner, SIGWINCH);
    }
    write_run_record(outer->run, outer->inner, atol(buffer + 8));
    child_started(outer->run, outer->inner);
  } else if (strcmp(buffer, "suspended") == 0) {
    suspend(outer);
  } else if (strncmp(buffer, "exited ", 7) == 0) {
    outer->exit_code = atoi(buffer + 7);
    outer->inner_gone = 1;
  } else if (strncmp(buffer, "ended ", 6) == 0) {
    outer->status = atoi(buffer + 6);
  } else if (strncmp(buffer, "failed ", 7) == 0) {
    char *text = NULL;
    outer->exit_code = (int)strtol(buffer + 7, &text, 10);
    restore_terminal();
    if (*text == ' ') outer->failure = must(strdup(text + 1));
  }
}

static void read_signal(struct outer *outer) {
  struct signalfd_siginfo info;
  if (read(outer->signals, &info, sizeof info) != sizeof info) return;
  if (info.ssi_signo == SIGWINCH) copy_window_size(outer);
  if (info.ssi_signo != SIGCHLD) {
    kill(outer->inner, (int)info.ssi_signo);
    return;
  }
  int status, inner_status = -1;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid == outer->inner) inner_status = status, outer->inner_gone = 1;
    else nursery_reap(pid);
  }
  if (inner_status == -1) return;
  status = inner_status;
  if (WIFEXITED(status)) {
    if (outer->exit_code < 0) outer->exit_code = WEXITSTATUS(status);
  } else {
    fprintf(stderr, "Error: The pod's launcher was killed by signal %d.\n", WTERMSIG(status));
    outer->exit_code = EXIT_OURS;
  }
}

// Signals for the program go by way of the inner launcher: the kernel gives pid 1 of a pod only those that it handles.
static void tell_inner(struct outer *outer, int signal) {
  char text[32];
  int size = snprintf(text, sizeof text, "signal %d", signal);
  if (outer->run->link[0] >= 0 && send(outer->run->link[0], text, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) return;
  if (signal == SIGKILL) kill(outer->inner, SIGKILL);
}

static void poll_once(struct outer *outer, int timeout) {
  struct pollfd fds[3 + 10];
  nfds_t n = 0;
  int foreground = in_foreground(outer);
  if (!foreground) timeout = BACKGROUND_LOOK_MS;
  else if (outer->master >= 0 && terminal_fd < 0 && outer->exit_code < 0) terminal_raw(outer);
  fds[n++] = (struct pollfd){outer->signals, POLLIN, 0};
  fds[n++] = (struct pollfd){outer->run->link[0], POLLIN, 0};
  fds[n++] = (struct pollfd){outer->run->life, POLLIN, 0};
  for (size_t i = 0; i < outer->pumps; i++) {
    struct pump *pump = &outer->pump[i];
    int empty = pump->done == pump->length;
    // A command that may yet start cold has read nothing by then.
    int is_ours = pump->from != 0 || (foreground && (outer->started || cold_command == NULL));
    int is_read = empty && !pump->ended && is_ours;
    fds[n++] = (struct pollfd){is_read ? pump->from : -1, POLLIN, 0};
    fds[n++] = (struct pollfd){empty ? -1 : pump->to, POLLOUT, 0};
  }
  size_t pumps = outer->pumps;
  if (outer->run->ends_ms > 0) {
    long long left = outer->run->ends_ms - now_ms(CLOCK_MONOTONIC);
    if (left <= 0) {
      outer->run->ends_ms = 0;
      tell_inner(outer, SIGKILL);
    } else if (timeout < 0 || left < timeout) {
      timeout = (int)left;
    }
  }
  if (poll(fds, n, timeout) <= 0) return;
  if (fds[1].revents != 0) read_link(outer);
  for (size_t i = 0; i < pumps; i++) pump_step(outer, &outer->pump[i], fds[3 + 2 * i].revents, fds[4 + 2 * i].revents);
  int signal = fds[2].revents != 0 ? child_told(outer->run) : 0;
  if (signal != 0) tell_inner(outer, signal);
  if (fds[0].revents != 0) read_signal(outer);
}

// After the pod is gone: what it still wrote reaches the caller, and a reopened file's offset follows.
static void finish(struct outer *outer) {
  while (outer->run->link[0] >= 0) read_link(outer);
  for (size_t i = 0; i < outer->pumps; i++) {
    struct pump *pump = &outer->pump[i];
    if (pump->from == 0 || pump->from == -1) continue;
    set_nonblocking(pump->from, 1);
    while (!pump->ended || pump->done < pump->length) {
      if (pump->done == pump->length) {
        ssize_t count = read(pump->from, pump->buffer, sizeof pump->buffer);
        if (count <= 0) break;
        pump->length = (size_t)count;
        pump->done = 0;
      }
      ssize_t count = write(pump->to, pump->buffer + pump->done, pump->length - pump->done);
      if (count < 0 && errno == EAGAIN) {
        struct pollfd ready = {pump->to, POLLOUT, 0};
        if (poll(&ready, 1, 5000) <= 0) break;
      } else if (count <= 0) {
        break;
      } else {
        pump->done += (size_t)count;
      }
    }
  }
  for (int fd = 1; fd < 3; fd++)
    if (outer->run->stdio[fd].kind == STDIO_REOPEN) lseek(fd, 0, SEEK_END);
  restore_terminal();
}

// The program never ran: nothing of the run stays behind. A failed restore is explained by the command line, which reads
// CRIU's log first.
static void abandon(struct run *run, const char *failure, int code) {
  if (cold_command != NULL && (failure != NULL || code == EXIT_OURS)) cold_start("its image cannot be restored", failure);
  if (failure != NULL && run->arguments != NULL) restore_again(run->arguments);
  if (failure != NULL && run->arguments != NULL) exec_cli("restore-explain", failure, run->dir, run->arguments);
  if (failure != NULL) fprintf(stderr, "Error: %s\n", failure);
  remove_tree(run->dir);
}

// A detached run's outer launcher hands over to a process without a terminal and a caller: it starts the run's children,
// and ends with it.
static void stay_as_nursery(struct outer *outer) {
  int away[2] = {-1, -1};
  if (pipe2(away, O_CLOEXEC) != 0) warn("the terminal may end the run:");
  pid_t nursery = fork();
  if (nursery != 0) {
    // Who ends as the leader of a terminal's session has everybody in its foreground group hang up: not before the other has left it.
    char none;
    close(away[1]);
    while (nursery > 0 && read(away[0], &none, 1) < 0 && errno == EINTR) continue;
    return;
  }
  setsid();
  // What was meant for the command, until now, is none of the program's: to ignore a signal takes back what is pending of it.
  for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) {
    signal(forwarded[i], SIG_IGN);
    signal(forwarded[i], SIG_DFL);
  }
  close(away[0]);
  close(away[1]);
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (null > 2) close(null);
  prctl(PR_SET_NAME, "fp-nursery");
  if (chdir("/") != 0) _exit(EXIT_OURS);
  while (outer->run->link[0] >= 0) poll_once(outer, -1);
  nursery_close(outer->run, outer->inner);
  _exit(0);
}

// Blocks the signals that are forwarded; they and SIGCHLD are read from the descriptor that is returned.
static int block_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) sigaddset(&set, forwarded[i]);
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) bail(EXIT_OURS, "signalfd failed:");
  return fd;
}

// Starts pid 1 of the pod and looks after it until it ends, or until the program runs when it is detached. Returns 0 then,
// else the exit code.
int outer_serve(struct run *run) {
  static struct outer outer;
  outer.run = run;
  outer.master = outer.exit_code = -1;
  outer.status = SIGKILL;
  outer.signals = block_signals();
  outer.inner = start_inner(run);
  close(run->link[1]);
  close_slots(run);
  for (int fd = 0; fd < 3; fd++) {
    if (run->stdio[fd].kind != STDIO_PUMP) continue;
    close(run->stdio[fd].inner);
    if (run->detach) close(run->stdio[fd].outer);
    else if (fd == 0) add_pump(&outer, 0, run->stdio[fd].outer);
    else add_pump(&outer, run->stdio[fd].outer, fd);
  }
  while (!outer.inner_gone && !(run->detach && outer.started)) poll_once(&outer, -1);
  // A short program may have ended by now; the start of a detached one counts all the same.
  while (outer.inner_gone && run->link[0] >= 0) read_link(&outer);
  if (run->detach && outer.started) {
    announce(run, outer.inner);
    stay_as_nursery(&outer);
    return 0;
  }
  nursery_close(run, outer.inner);
  finish(&outer);
  if (!outer.started) abandon(run, outer.failure, outer.exit_code);
  if (run->is_child) child_ended(run, outer.status);
  if (outer.started && outer.exit_code != EXIT_OURS && WIFSIGNALED(outer.status)) run->ended_by = WTERMSIG(outer.status);
  return outer.exit_code;
}
