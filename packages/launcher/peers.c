// Which unix sockets are connected to which, as the kernel's socket diagnosis tells. /proc/net/unix does not.
#include "pod.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

// Adds `INODE TYPE STATE PEER` for one socket; the peer is 0 when there is none, or none that has an inode.
static void add_socket(struct text *text, size_t *count, struct nlmsghdr *head) {
  struct unix_diag_msg *socket = NLMSG_DATA(head);
  int length = (int)(head->nlmsg_len - NLMSG_LENGTH(sizeof *socket));
  uint32_t peer = 0;
  char line[64];
  for (struct rtattr *at = (struct rtattr *)(socket + 1); RTA_OK(at, length); at = RTA_NEXT(at, length))
    if (at->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(at) >= sizeof peer) memcpy(&peer, RTA_DATA(at), sizeof peer);
  int size = snprintf(line, sizeof line, "%u %u %u %u", socket->udiag_ino, socket->udiag_type, socket->udiag_state, peer);
  text_add(text, line, (size_t)size + 1);
  ++*count;
}

// Reads the answer up to its end; 0, or -1 with errno.
static int read_sockets(int fd, struct text *text, size_t *count) {
  static char buffer[64 << 10] __attribute__((aligned(8)));
  for (;;) {
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return -1;
    size_t left = (size_t)got;
    for (struct nlmsghdr *head = (struct nlmsghdr *)buffer; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
      if (head->nlmsg_type == NLMSG_DONE) return 0;
      if (head->nlmsg_type == NLMSG_ERROR) {
        struct nlmsgerr *error = NLMSG_DATA(head);
        errno = -error->error;
        return -1;
      }
      if (head->nlmsg_type == SOCK_DIAG_BY_FAMILY) add_socket(text, count, head);
    }
  }
}

// Lists all unix sockets of the network namespace. Needs no rights; a kernel without UNIX_DIAG says ENOENT.
int unix_peers(struct text *text, size_t *count) {
  struct { struct nlmsghdr head; struct unix_diag_req request; } message = {
      .head = {.nlmsg_len = sizeof message, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .request = {.sdiag_family = AF_UNIX, .udiag_states = ~0U, .udiag_show = UDIAG_SHOW_PEER}};
  struct timeval limit = {.tv_sec = 2};
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  int result = send(fd, &message, sizeof message, 0) == (ssize_t)sizeof message ? read_sockets(fd, text, count) : -1;
  int error = errno;
  close(fd);
  errno = error;
  return result;
}
