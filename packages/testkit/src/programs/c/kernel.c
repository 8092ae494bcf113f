// What the kernel keeps for a program beside its private memory: each case uses it, and finds it as it was.
#include "common.h"
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>

// ---- shared memory ----

static byte *anonymous, *named;
static int descriptor;
static void shm_setup(void) {
  anonymous = make(PAGES(40), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  fill(anonymous, PAGES(40), 80);
  descriptor = (int)syscall(SYS_memfd_create, "hazards", 0u);
  need(descriptor >= 0 && ftruncate(descriptor, (off_t)PAGES(40)) == 0, "memfd_create");
  named = mmap(NULL, PAGES(40), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  fill(named, PAGES(40), 81);
}
static int shm_child(void) {
  anonymous[0] ^= 1, named[0] ^= 1;
  return 0;
}
static void shm_check(int generation) {
  static byte copy[PAGES(40)];
  same(anonymous, PAGE, PAGES(40), 80, "anonymous");
  same(named, PAGE, PAGES(40), 81, "of a memfd");
  need(pread(descriptor, copy, sizeof copy, 0) == (ssize_t)sizeof copy && memcmp(copy, named, sizeof copy) == 0, "one file");
  byte before[2] = {anonymous[0], named[0]};
  need(in_child(shm_child) == 0 && anonymous[0] == (before[0] ^ 1) && named[0] == (before[1] ^ 1), "shared with a child");
  (void)generation;
}

// ---- a memfd that is larger than what is mapped of it, as the heap of the JVM's ZGC is ----

static byte *heap;
static int heap_fd;
static void sparse_setup(void) {
  heap_fd = (int)syscall(SYS_memfd_create, "heap", 0u);
  need(heap_fd >= 0 && ftruncate(heap_fd, (off_t)PAGES(900)) == 0, "memfd_create");
  heap = mmap(NULL, PAGES(60), PROT_READ | PROT_WRITE, MAP_SHARED, heap_fd, 0);
  fill(heap, PAGES(20), 83);
  fill(heap + PAGES(30), PAGES(20), 84);
}
static void sparse_check(int generation) {
  static byte copy[PAGES(60)], rest[PAGES(840)];
  same(heap, 0, PAGES(20), 83, "mapped");
  empty(heap, PAGES(20), PAGES(30), "a hole");
  same(heap + PAGES(30), 0, PAGES(20), 84, "mapped behind the hole");
  need(pread(heap_fd, copy, sizeof copy, 0) == (ssize_t)sizeof copy && memcmp(copy, heap, sizeof copy) == 0, "one file");
  need(pread(heap_fd, rest, sizeof rest, (off_t)PAGES(60)) == (ssize_t)sizeof rest, "its size");
  empty(rest, 0, sizeof rest, "behind what is mapped");
  if (generation == 1) heap[PAGES(55)] = 0;
}

// ---- a child with memory of its own, forked before the checkpoint ----

static byte *inherited;
static int to_child[2], from_child[2];
static pid_t child;
static void child_main(void) {
  int generation;
  for (size_t i = 0; i < 128; i += 8) fill(inherited + PAGES(i), PAGE, 90 + i);
  while (read(to_child[0], &generation, sizeof generation) == (ssize_t)sizeof generation) {
    int before = failures;
    for (size_t i = 0; i < 128; i++) {
      if (i % 8 == 0) same(inherited + PAGES(i), 0, PAGE, 90 + i, "the child's own pages");
      else same(inherited, PAGES(i), PAGES(i + 1), 82, "pages it shares");
    }
    int answer = failures == before;
    if (write(from_child[1], &answer, sizeof answer) != (ssize_t)sizeof answer) break;
  }
  _exit(0);
}
static void tree_setup(void) {
  inherited = filled(128, 82);
  need(pipe(to_child) == 0 && pipe(from_child) == 0, "pipe");
  child = fork();
  if (child == 0) child_main();
}
static void tree_check(int generation) {
  int answer = 0;
  same(inherited, 0, PAGES(128), 82, "the parent's pages");
  need(write(to_child[1], &generation, sizeof generation) == (ssize_t)sizeof generation, "write");
  need(read(from_child[0], &answer, sizeof answer) == (ssize_t)sizeof answer && answer == 1, "the child");
  if (generation == 2) {
    close(to_child[1]);
    // The child has a copy of the writing end, too: it is ended.
    need(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child, "waitpid");
  }
}

// ---- threads: what each keeps for itself, and what they wait for ----

static __thread uint64_t own_words[1024];
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t book = PTHREAD_RWLOCK_INITIALIZER;
static pthread_key_t key;
static int rounds, done[4];
static void *worker(void *number) {
  size_t i = (size_t)number;
  fill(own_words, sizeof own_words, 100 + i);
  pthread_setspecific(key, (void *)(i + 7));
  pthread_mutex_lock(&gate);
  for (;;) {
    while (done[i] == rounds) pthread_cond_wait(&change, &gate);
    same(own_words, 0, sizeof own_words, 100 + i, "thread-local words");
    need(pthread_getspecific(key) == (void *)(i + 7), "thread-specific data");
    done[i] = rounds;
    pthread_cond_broadcast(&change);
  }
  return NULL;
}
static void threads_setup(void) {
  pthread_t thread;
  need(pthread_key_create(&key, NULL) == 0, "pthread_key_create");
  pthread_rwlock_rdlock(&book);
  for (size_t i = 0; i < 4; i++) need(pthread_create(&thread, NULL, worker, (void *)i) == 0, "pthread_create");
}
static void threads_check(int generation) {
  pthread_mutex_lock(&gate);
  rounds = generation;
  pthread_cond_broadcast(&change);
  for (size_t i = 0; i < 4; i++)
    while (done[i] != rounds) pthread_cond_wait(&change, &gate);
  pthread_mutex_unlock(&gate);
  need(pthread_rwlock_trywrlock(&book) == EBUSY, "still read-locked");
}

// ---- sockets, pipes, eventfd, epoll ----

static int streams[2], datagrams[2], pipes[2], events, watcher;
static void sockets_setup(void) {
  need(socketpair(AF_UNIX, SOCK_STREAM, 0, streams) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams) == 0, "socketpair");
  need(pipe(pipes) == 0 && fcntl(pipes[1], F_SETPIPE_SZ, 1 << 18) >= 1 << 18, "pipe");
  events = eventfd(41, EFD_NONBLOCK);
  watcher = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 4242};
  need(events >= 0 && epoll_ctl(watcher, EPOLL_CTL_ADD, streams[1], &event) == 0, "epoll_ctl");
  need(write(streams[0], "in the stream", 13) == 13 && write(datagrams[0], "one", 3) == 3 && write(datagrams[0], "two", 3) == 3, "write");
  need(write(pipes[1], "in the pipe", 11) == 11, "write");
}
static void sockets_check(int generation) {
  char text[64] = {0};
  uint64_t value = 0;
  struct epoll_event event = {0};
  need(epoll_wait(watcher, &event, 1, 5000) == 1 && event.data.u64 == 4242, "epoll_wait");
  need(read(streams[1], text, sizeof text) == 13 && memcmp(text, "in the stream", 13) == 0, "the stream");
  need(epoll_wait(watcher, &event, 1, 0) == 0, "nothing more");
  need(read(datagrams[1], text, sizeof text) == 3 && memcmp(text, "one", 3) == 0, "the first datagram");
  need(read(datagrams[1], text, sizeof text) == 3 && memcmp(text, "two", 3) == 0, "the second datagram");
  need(read(pipes[0], text, sizeof text) == 11 && memcmp(text, "in the pipe", 11) == 0, "the pipe");
  need(fcntl(pipes[0], F_GETPIPE_SZ) >= 1 << 18, "its size");
  need(read(events, &value, sizeof value) == 8 && value == (uint64_t)(40 + generation), "eventfd");
  value += 1;
  need(write(events, &value, sizeof value) == 8, "eventfd, again");
  need(write(streams[0], "in the stream", 13) == 13 && write(datagrams[0], "one", 3) == 3 && write(datagrams[0], "two", 3) == 3, "write");
  need(write(pipes[1], "in the pipe", 11) == 11, "write");
}

// ---- a terminal of its own ----

static int master, slave;
static void tty_setup(void) {
  struct termios settings;
  struct winsize size = {33, 77, 0, 0};
  need(openpty(&master, &slave, NULL, NULL, &size) == 0, "openpty");
  need(tcgetattr(slave, &settings) == 0, "tcgetattr");
  settings.c_lflag &= (tcflag_t) ~(ECHO | ICANON);
  need(tcsetattr(slave, TCSANOW, &settings) == 0, "tcsetattr");
}
static void tty_check(int generation) {
  struct termios settings;
  struct winsize size = {0};
  char text[16] = {0};
  need(tcgetattr(slave, &settings) == 0 && (settings.c_lflag & (ECHO | ICANON)) == 0, "settings");
  need(ioctl(master, TIOCGWINSZ, &size) == 0 && size.ws_row == 33 && size.ws_col == 77, "window");
  need(write(master, "typed", 5) == 5 && read(slave, text, sizeof text) == 5 && memcmp(text, "typed", 5) == 0, "input");
  need(write(slave, "shown", 5) == 5 && read(master, text, sizeof text) == 5 && memcmp(text, "shown", 5) == 0, "output");
  (void)generation;
}

// ---- timers ----

static int clock_fd;
static timer_t posix;
static volatile sig_atomic_t ticks, alarms;
static void tick(int number) {
  if (number == SIGALRM) alarms++;
  else ticks++;
}
static void timers_setup(void) {
  struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL), sigaction(SIGUSR2, &action, NULL);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
  struct itimerspec often = {{0, 20000000}, {0, 20000000}};
  struct itimerval far = {{0, 0}, {3600, 0}};
  need(timer_create(CLOCK_MONOTONIC, &event, &posix) == 0 && timer_settime(posix, 0, &often, NULL) == 0, "timer_create");
  clock_fd = timerfd_create(CLOCK_MONOTONIC, 0);
  need(clock_fd >= 0 && timerfd_settime(clock_fd, 0, &often, NULL) == 0, "timerfd");
  need(setitimer(ITIMER_REAL, &far, NULL) == 0, "setitimer");
}
static void timers_check(int generation) {
  uint64_t expirations = 0;
  struct itimerval left;
  need(read(clock_fd, &expirations, sizeof expirations) == 8 && expirations > 0, "timerfd");
  sig_atomic_t before = ticks;
  for (int i = 0; i < 500 && ticks == before; i++) poll(NULL, 0, 20);
  need(ticks > before, "timer_create");
  need(getitimer(ITIMER_REAL, &left) == 0 && left.it_value.tv_sec > 3000 && left.it_value.tv_sec <= 3600, "setitimer");
  need(alarms == 0, "not yet");
  (void)generation;
}

// ---- signals ----

static byte *alternate;
static int signals_fd;
static volatile sig_atomic_t handled_on;
static void on_alternate(int number) {
  byte here;
  (void)number;
  handled_on = &here >= alternate && &here < alternate + PAGES(16) ? 1 : 2;
}
static void signals_setup(void) {
  sigset_t set;
  alternate = filled(16, 83);
  stack_t where = {.ss_sp = alternate, .ss_size = PAGES(16)};
  struct sigaction action = {.sa_handler = on_alternate, .sa_flags = SA_ONSTACK};
  sigaddset(&action.sa_mask, SIGTERM);
  need(sigaltstack(&where, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0, "sigaltstack");
  sigemptyset(&set), sigaddset(&set, SIGRTMIN), sigaddset(&set, SIGWINCH);
  need(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "sigprocmask");
  signals_fd = signalfd(-1, &set, SFD_NONBLOCK);
  for (int i = 0; i < 3; i++) need(pthread_sigqueue(pthread_self(), SIGRTMIN, (union sigval){.sival_int = 500 + i}) == 0, "sigqueue");
  signal(SIGHUP, SIG_IGN);
}
static void signals_check(int generation) {
  sigset_t pending, blocked;
  struct sigaction action;
  struct signalfd_siginfo info;
  need(sigpending(&pending) == 0 && sigismember(&pending, SIGRTMIN), "pending");
  need(sigprocmask(SIG_BLOCK, NULL, &blocked) == 0 && sigismember(&blocked, SIGWINCH) && !sigismember(&blocked, SIGUSR1), "blocked");
  need(sigaction(SIGUSR1, NULL, &action) == 0 && action.sa_handler == on_alternate && sigismember(&action.sa_mask, SIGTERM), "handler");
  need(sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN, "ignored");
  for (int i = 0; i < 3; i++)
    need(read(signals_fd, &info, sizeof info) == (ssize_t)sizeof info && info.ssi_int == 500 + i, "queued values, in order");
  handled_on = 0;
  need(raise(SIGUSR1) == 0 && handled_on == 1, "the alternate stack");
  for (int i = 0; i < 3; i++) need(pthread_sigqueue(pthread_self(), SIGRTMIN, (union sigval){.sival_int = 500 + i}) == 0, "sigqueue");
  (void)generation;
}

const struct hazard kernel_hazards[] = {
    {"memfd-sparse", sparse_setup, sparse_check},
    {"shm", shm_setup, shm_check},
    {"tree", tree_setup, tree_check},
    {"threads", threads_setup, threads_check},
    {"sockets", sockets_setup, sockets_check},
    {"tty", tty_setup, tty_check},
    {"timers", timers_setup, timers_check},
    {"signals", signals_setup, signals_check},
    {NULL, NULL, NULL},
};
