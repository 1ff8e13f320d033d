#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "csupervisor.h"

int csupervisor_socket_pair(int ends[2]) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
  int on = 1;
  // Every message that the first end receives then says who sent it.
  if (setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
    int code = errno;
    close(ends[0]);
    close(ends[1]);
    return -code;
  }
  return 0;
}

ssize_t csupervisor_send(int socket, const void *bytes, size_t count, int file) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (file >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = sizeof control.space;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &file, sizeof file);
  }
  for (;;) {
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
  }
}

ssize_t csupervisor_receive(int socket, void *bytes, size_t count, int *file, int64_t *user) {
  // Room for more descriptors than are allowed: those that did not fit would say nothing of themselves.
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(8 * sizeof(int))];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  ssize_t received;
  do {
    message.msg_control = &control;
    message.msg_controllen = sizeof control.space;
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  *file = -1;
  *user = -1;
  if (received < 0) return -errno;
  int excess = (message.msg_flags & MSG_CTRUNC) != 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type == SCM_CREDENTIALS) {
      struct ucred sender;
      memcpy(&sender, CMSG_DATA(header), sizeof sender);
      *user = sender.uid;
    } else if (header->cmsg_type == SCM_RIGHTS) {
      size_t files = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < files; i++) {
        int one;
        memcpy(&one, CMSG_DATA(header) + i * sizeof(int), sizeof one);
        if (*file < 0) {
          *file = one;
        } else {
          close(one);
          excess = 1;
        }
      }
    }
  }
  if (excess) {
    if (*file >= 0) close(*file);
    *file = -1;
    return -EPROTO;
  }
  return received;
}

void csupervisor_begin_writing(int file, int64_t offset, int64_t count) {
  sync_file_range(file, offset, count, SYNC_FILE_RANGE_WRITE);
}

int csupervisor_clone(int from, int to) { return ioctl(to, FICLONE, from) == 0 ? 0 : -errno; }

int csupervisor_sync_file_system(int file) { return syncfs(file) == 0 ? 0 : -errno; }
