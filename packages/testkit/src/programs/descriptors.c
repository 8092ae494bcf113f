// A program with one kind of descriptor that Node.js cannot have. Usage: descriptors SCENARIO [ARG]
// Prints `ready`, then one line about its state for every SIGUSR1.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd = -1, other = -1;

static int need(int result, const char *what) {
  if (result >= 0) return result;
  perror(what);
  exit(1);
}

// What the scenario `kinds` has: one descriptor of each kind.
static const char *const kinds[][2] = {{"eventfd", ""}, {"timerfd", ""}, {"signalfd", ""}, {"memfd", ""},
                                       {"tmpfile", "."}, {"renamed", "old-name"}, {"pipe", ""}, {"terminal", ""}};
#define KINDS (sizeof kinds / sizeof *kinds)
static struct kind {
  int fd, other;
  void (*show)(void);
} kind[KINDS];

static void show_kinds(void) {
  for (size_t i = 0; i < KINDS; i++) {
    fd = kind[i].fd;
    other = kind[i].other;
    kind[i].show();
  }
  printf("that is all\n");
}

static void show_nothing(void) { printf("alive\n"); }

static void show_count(void) {
  uint64_t count = 0;
  ssize_t n = read(fd, &count, sizeof count);
  printf("count %llu of %zd bytes\n", n > 0 ? (unsigned long long)count : 0, n);
}

static void show_timer(void) {
  struct itimerspec left;
  need(timerfd_gettime(fd, &left), "timerfd_gettime");
  printf("interval %ld, armed %d\n", (long)left.it_interval.tv_sec, left.it_value.tv_sec > 0 || left.it_value.tv_nsec > 0);
}

static void show_signal(void) {
  struct signalfd_siginfo info;
  kill(getpid(), SIGUSR2);
  ssize_t n = read(fd, &info, sizeof info);
  printf("signal %u\n", n == sizeof info ? info.ssi_signo : 0);
}

static void show_text(void) {
  char text[64] = "";
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  printf("text %s (%zd)\n", text, n);
}

static void show_pipe(void) {
  char text[64] = "";
  ssize_t n = read(fd, text, sizeof text - 1);
  need((int)write(other, "more in the pipe", 16), "write");
  printf("text %s (%zd)\n", text, n);
}

static void show_terminal(void) {
  char text[64] = "";
  need((int)write(other, "typed\n", 6), "write to the terminal");
  ssize_t n = read(fd, text, sizeof text - 1);
  printf("terminal %d read %zd\n", isatty(other), n);
}

static void show_log(void) {
  ssize_t n = send(fd, "<14>after", 9, MSG_NOSIGNAL);
  printf("sent %zd\n", n);
}

static void open_terminal(void) {
  char name[64];
  fd = need(posix_openpt(O_RDWR | O_NOCTTY), "posix_openpt");
  grantpt(fd);
  need(unlockpt(fd), "unlockpt");
  need(ptsname_r(fd, name, sizeof name), "ptsname");
  other = need(open(name, O_RDWR | O_NOCTTY), name);
}

static void filter(void) {
  struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {1, &allow};
  need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
  need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
}

static void trace(void) {
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    for (;;) pause();
  }
  int status;
  need(waitpid(child, &status, 0), "waitpid");
  need((int)ptrace(PTRACE_CONT, child, NULL, NULL), "ptrace");
}

static void log_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  fd = need(socket(AF_UNIX, SOCK_DGRAM, 0), "socket");
  need(connect(fd, (struct sockaddr *)&address, sizeof address), path);
  need((int)send(fd, "<14>before", 10, 0), "send");
}

// Accepts one client and says how many bytes of its two messages one read(2) gives: 5 from packets, 10 from a stream.
static void show_packet(void) {
  char text[64];
  int client = need(accept(fd, NULL, NULL), "accept");
  ssize_t n = read(client, text, sizeof text);
  printf("packet of %zd\n", n);
  close(client);
}

static void listen_packets(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  fd = need(socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket");
  need(bind(fd, (struct sockaddr *)&address, sizeof address), path);
  need(listen(fd, 5), "listen");
}

// The other side of it: sends two packets of 5 bytes.
static void send_packets(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  fd = need(socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket");
  need(connect(fd, (struct sockaddr *)&address, sizeof address), path);
  need((int)write(fd, "first", 5), "write");
  need((int)write(fd, "other", 5), "write");
  exit(0);
}

// What syslogd is: prints what comes to a datagram socket with a name.
static void serve_log(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char text[64];
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  fd = need(socket(AF_UNIX, SOCK_DGRAM, 0), "socket");
  need(bind(fd, (struct sockaddr *)&address, sizeof address), path);
  printf("bound\n");
  for (ssize_t n; (n = recv(fd, text, sizeof text, 0)) >= 0;) printf("%.*s\n", (int)n, text);
  exit(1);
}

static void write_text(const char *text) { need((int)write(fd, text, strlen(text)), "write"); }

static void (*prepare(const char *name, const char *argument))(void) {
  int pair[2];
  if (strcmp(name, "eventfd") == 0) return fd = eventfd(3, EFD_NONBLOCK), show_count;
  if (strcmp(name, "semaphore") == 0) return fd = eventfd(3, EFD_NONBLOCK | EFD_SEMAPHORE), show_count;
  if (strcmp(name, "timerfd") == 0) {
    struct itimerspec every = {{7, 0}, {7, 0}};
    fd = need(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd");
    need(timerfd_settime(fd, 0, &every, NULL), "timerfd_settime");
    return show_timer;
  }
  if (strcmp(name, "signalfd") == 0) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return fd = need(signalfd(-1, &set, SFD_NONBLOCK), "signalfd"), show_signal;
  }
  if (strcmp(name, "memfd") == 0) return fd = need(memfd_create("notes", MFD_CLOEXEC), "memfd"), write_text("in memory"), show_text;
  if (strcmp(name, "tmpfile") == 0) return fd = need(open(argument, O_TMPFILE | O_RDWR, 0600), "O_TMPFILE"), write_text("nameless"), show_text;
  if (strcmp(name, "renamed") == 0) {
    char moved[4096];
    snprintf(moved, sizeof moved, "%s.moved", argument);
    fd = need(open(argument, O_CREAT | O_RDWR, 0600), argument);
    write_text("moved");
    need(rename(argument, moved), "rename");
    return show_text;
  }
  if (strcmp(name, "linked") == 0) {
    char second[4096];
    snprintf(second, sizeof second, "%s.second", argument);
    fd = need(open(argument, O_CREAT | O_RDWR, 0600), argument);
    need(link(argument, second), "link");
    need(unlink(argument), "unlink");
    return show_text;
  }
  if (strcmp(name, "lock") == 0) {
    fd = need(open(argument, O_CREAT | O_RDWR, 0600), argument);
    return need(flock(fd, LOCK_EX | LOCK_NB), "flock"), show_nothing;
  }
  if (strcmp(name, "range") == 0) {
    struct flock range = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5};
    fd = need(open(argument, O_CREAT | O_RDWR, 0600), argument);
    return need(fcntl(fd, F_SETLK, &range), "fcntl"), show_nothing;
  }
  if (strcmp(name, "pipe") == 0) {
    need(pipe(pair), "pipe");
    return fd = pair[0], other = pair[1], need((int)write(other, "in the pipe", 11), "write"), show_pipe;
  }
  if (strcmp(name, "terminal") == 0) return open_terminal(), show_terminal;
  if (strcmp(name, "log") == 0) return log_to(argument), show_log;
  if (strcmp(name, "packets") == 0) return listen_packets(argument), show_packet;
  if (strcmp(name, "sender") == 0) send_packets(argument);
  if (strcmp(name, "logger") == 0) serve_log(argument);
  if (strcmp(name, "userfaultfd") == 0) return fd = need((int)syscall(SYS_userfaultfd, O_CLOEXEC | 1), "userfaultfd"), show_nothing;
  if (strcmp(name, "secret") == 0) {
    fd = need((int)syscall(447, 0), "memfd_secret");
    need(ftruncate(fd, 4096), "ftruncate");
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED) need(-1, "mmap");
    return show_nothing;
  }
  if (strcmp(name, "sysv") == 0) {
    void *memory = shmat(need(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600), "shmget"), NULL, 0);
    return need(memory == (void *)-1 ? -1 : 0, "shmat"), show_nothing;
  }
  if (strcmp(name, "seccomp") == 0) return filter(), show_nothing;
  if (strcmp(name, "traced") == 0) return trace(), show_nothing;
  if (strcmp(name, "replaced") == 0) return need(unlink(argument), "unlink"), show_nothing;
  if (strcmp(name, "kinds") == 0) {
    for (size_t i = 0; i < KINDS; i++) {
      void (*show)(void) = prepare(kinds[i][0], kinds[i][1]);
      kind[i] = (struct kind){fd, other, show};
    }
    return show_kinds;
  }
  // Several things at once, for the report.
  if (strcmp(name, "many") == 0) {
    need(eventfd(1, EFD_SEMAPHORE), "eventfd");
    need((int)syscall(SYS_userfaultfd, O_CLOEXEC | 1), "userfaultfd");
    return filter(), show_nothing;
  }
  fprintf(stderr, "unknown scenario %s\n", name);
  exit(2);
}

int main(int count, char **arguments) {
  sigset_t set;
  int number;
  void (*show)(void);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  show = prepare(count > 1 ? arguments[1] : "", count > 2 ? arguments[2] : "");
  printf("ready\n");
  for (;;)
    if (sigwait(&set, &number) == 0) show();
}
