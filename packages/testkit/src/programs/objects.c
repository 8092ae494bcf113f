// Holds what is easily lost in a copy: a memfd that is mapped and open, a private mapping of it, a System V message queue
// and semaphores. Usage: objects DEST... Says after each checkpoint into DEST what it found.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE (16 * 4096)

struct message {
  long type;
  char text[64];
};

static void check(int fine, const char *what) {
  if (fine) return;
  printf("WRONG %s\n", what);
  fflush(stdout);
  exit(1);
}

// The ten lines of docs/protocol.md.
static void ask(const char *destination, char *outcome, size_t size) {
  char path[4096], line[8192], cwd[2048];
  const char *directory = getenv("FORKPOINT_DIR");
  check(directory != NULL && getcwd(cwd, sizeof cwd) != NULL, "FORKPOINT_DIR");
  snprintf(path, sizeof path, "%s/request", directory);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  int length = snprintf(line, sizeof line, "{\"v\":1,\"op\":\"checkpoint\",\"pid\":%d,\"to\":\"%s\",\"cwd\":\"%s\",\"stop\":true}\n",
                        (int)getpid(), destination, cwd);
  check(fd >= 0 && write(fd, line, (size_t)length) == length, "the request");
  close(fd);
  snprintf(path, sizeof path, "%s/outcome", directory);
  fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t count = read(fd, outcome, size - 1);
  check(fd >= 0 && count > 0, "the outcome");
  outcome[count] = 0;
  close(fd);
}

int main(int count, char **arguments) {
  int fd = (int)syscall(SYS_memfd_create, "fp-test", 0u);
  check(fd >= 0 && ftruncate(fd, SIZE) == 0, "the memfd");
  char *shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  check(shared != MAP_FAILED, "the shared mapping");
  strcpy(shared + 4096, "written through the mapping");
  check(pwrite(fd, "written through the descriptor", 31, 5 * 4096) == 31, "writing the memfd");
  char *private = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  check(private != MAP_FAILED, "the private mapping");
  strcpy(private + 8192, "private");
  int queue = msgget(IPC_PRIVATE, 0600), semaphores = semget(IPC_PRIVATE, 3, 0600);
  struct message message = {1, "message 0"};
  check(queue >= 0 && msgsnd(queue, &message, sizeof message.text, 0) == 0, "the queue");
  for (int i = 0; i < 3; i++) check(semop(semaphores, &(struct sembuf){(unsigned short)i, (short)(3 + i), 0}, 1) == 0, "the semaphores");
  for (int generation = 1; generation < count; generation++) {
    char outcome[65536], text[64];
    ask(arguments[generation], outcome, sizeof outcome);
    check(strstr(outcome, "\"restored\"") != NULL, outcome);
    check(strcmp(shared + 4096, "written through the mapping") == 0, "what was written through the mapping");
    check(strcmp(shared + 5 * 4096, "written through the descriptor") == 0, "what was written through the descriptor");
    check(strcmp(private + 8192, "private") == 0, "what was written privately");
    snprintf(text, sizeof text, "generation %d", generation);
    check(pwrite(fd, text, sizeof text, 7 * 4096) == sizeof text && strcmp(shared + 7 * 4096, text) == 0, "mapping and descriptor are one file");
    strcpy(shared + 9 * 4096, text);
    check(pread(fd, text, sizeof text, 9 * 4096) == sizeof text && strcmp(shared + 9 * 4096, text) == 0, "descriptor and mapping are one file");
    snprintf(text, sizeof text, "message %d", generation - 1);
    check(msgrcv(queue, &message, sizeof message.text, 0, IPC_NOWAIT) == sizeof message.text && strcmp(message.text, text) == 0, "the message");
    snprintf(message.text, sizeof message.text, "message %d", generation);
    check(msgsnd(queue, &message, sizeof message.text, 0) == 0, "sending again");
    for (int i = 0; i < 3; i++) check(semctl(semaphores, i, GETVAL) == 3 + i, "the value of a semaphore");
    printf("generation %d is right\n", generation);
    fflush(stdout);
  }
  return 9;
}
