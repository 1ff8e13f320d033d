#define _GNU_SOURCE
#include "csupervisor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/memfd.h>
#include <linux/openat2.h>
#include <malloc.h>
#ifdef __GLIBC__
#include <nss.h>
#endif
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <sys/epoll.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

// Runs between fork or vfork and exec: no allocation, no lock, only system calls and the stack.
static int bind_sources(const struct csupervisor_spawn *spawn) {
  if (!spawn->mounts || !spawn->mounts[0]) return 0;
  if (unshare(CLONE_NEWNS) < 0) return -1;
  // Without this the mounts below would reach the host.
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return -1;
  // Opened first: the stage may hide the directories in which they are.
  int sources[320];
  int count = 0;
  for (; spawn->mounts[count]; count++) {
    if (count == 320) { errno = E2BIG; return -1; }
    sources[count] = open(spawn->mounts[count], O_PATH | O_CLOEXEC);
    if (sources[count] < 0) return -1;
  }
  if (mount("fubini-stage", spawn->stage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0) return -1;
  for (int i = 0; i < count; i++) {
    char target[128], source[64];
    struct stat status;
    snprintf(target, sizeof target, "%s/%d", spawn->stage, i);
    snprintf(source, sizeof source, "/proc/self/fd/%d", sources[i]);
    if (fstat(sources[i], &status) < 0) return -1;
    if (S_ISDIR(status.st_mode)) {
      if (mkdir(target, 0755) < 0) return -1;
    } else {
      int file = open(target, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
      if (file < 0) return -1;
      close(file);
    }
    if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0) return -1;
    close(sources[i]);
  }
  return 0;
}

static int take_identity(const struct csupervisor_spawn *spawn) {
  // Raw calls: glibc's wrappers would signal the threads of the parent, whose memory this still is.
  if (spawn->group >= 0) {
    if (syscall(SYS_setgroups, 0, NULL) < 0) return -1;
    if (syscall(SYS_setresgid, spawn->group, spawn->group, spawn->group) < 0) return -1;
  }
  if (spawn->user >= 0 && syscall(SYS_setresuid, spawn->user, spawn->user, spawn->user) < 0) return -1;
  return 0;
}

static int place_descriptors(const struct csupervisor_spawn *spawn) {
  // Lifted above the targets first, so that no dup2 overwrites a source.
  int in = fcntl(spawn->standard_input, F_DUPFD_CLOEXEC, 10);
  int out = fcntl(spawn->standard_output, F_DUPFD_CLOEXEC, 10);
  int err = fcntl(spawn->standard_error, F_DUPFD_CLOEXEC, 10);
  if (in < 0 || out < 0 || err < 0) return -1;
  int kept = -1;
  if (spawn->kept >= 0 && (kept = fcntl(spawn->kept, F_DUPFD_CLOEXEC, 10)) < 0) return -1;
  if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) return -1;
  int told = -1;
  if (spawn->told >= 0 && (told = fcntl(spawn->told, F_DUPFD_CLOEXEC, 10)) < 0) return -1;
  if (kept >= 0 && dup2(kept, 3) < 0) return -1;
  if (told >= 0 && dup2(told, 4) < 0) return -1;
  return 0;
}

static void child(const struct csupervisor_spawn *spawn, pid_t parent, int *step) {
  *step = CSUPERVISOR_CGROUP;
  for (int i = 0; i < 3; i++)
    if (spawn->cgroup_procs[i] >= 0 && write(spawn->cgroup_procs[i], "0", 1) != 1) return;
  *step = CSUPERVISOR_MOUNT;
  if (bind_sources(spawn) < 0) return;
  *step = CSUPERVISOR_IDENTITY;
  if (setsid() < 0 || take_identity(spawn) < 0) return;
  // After the change of identity, which clears it. A parent that died in between is noticed by getppid.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return;
  if (getppid() != parent) { errno = ESRCH; return; }
  if (spawn->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return;
  struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none) < 0) return;
  *step = CSUPERVISOR_DESCRIPTORS;
  if (place_descriptors(spawn) < 0) return;
  *step = CSUPERVISOR_DIRECTORY;
  if (spawn->directory && chdir(spawn->directory) < 0) return;
  *step = CSUPERVISOR_EXEC;
  sigset_t empty;
  sigemptyset(&empty);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &empty, NULL);
  execvpe(spawn->arguments[0], (char *const *)spawn->arguments, (char *const *)spawn->environment);
}

// The mounts take long where many are made at once, and a vforked child would stop its parent meanwhile.
static pid_t spawn_beside(const struct csupervisor_spawn *spawn, int *step) {
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) {
    int report = fcntl(spawn->failure_report, F_DUPFD_CLOEXEC, 10);
    int failed[2] = {CSUPERVISOR_FORK, 0};
    child(spawn, parent, &failed[0]);
    failed[1] = errno;
    if (write(report, failed, sizeof failed) < 0) _exit(126);
    _exit(127);
  }
  if (pid < 0) {
    *step = CSUPERVISOR_FORK;
    return -errno;
  }
  return pid;
}

pid_t csupervisor_spawn(const struct csupervisor_spawn *spawn, int *step) {
  if (spawn->failure_report >= 0) return spawn_beside(spawn, step);
  volatile int failure = 0;
  volatile int at = CSUPERVISOR_FORK;
  pid_t parent = getpid();
  pid_t pid = vfork();
  if (pid == 0) {
    int reached = 0;
    child(spawn, parent, &reached);
    failure = errno;
    at = reached;
    _exit(127);
  }
  if (pid < 0) {
    *step = CSUPERVISOR_FORK;
    return -errno;
  }
  if (failure) {
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
    *step = at;
    return -failure;
  }
  return pid;
}

int csupervisor_exchange(const char *a, const char *b) {
  const unsigned exchange = 2;
  return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, exchange) == 0 ? 0 : -errno;
}

int csupervisor_open_in_root(int directory, const char *path) {
  struct open_how how = {
      // O_NONBLOCK: opening a FIFO must not wait for its writer.
      .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
      .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
  };
  int file = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
  if (file < 0) return -errno;
  struct stat status;
  if (fstat(file, &status) < 0 || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))) {
    close(file);
    return -EACCES;
  }
  return file;
}

int csupervisor_has_attributes(int file) {
  char names[4096];
  ssize_t length = flistxattr(file, names, sizeof names);
  // A file system without any has none.
  if (length < 0) return errno == ENOTSUP ? 0 : -errno;
  for (const char *name = names; name < names + length; name += strlen(name) + 1)
    if (strncmp(name, "user.", 5) == 0 || strncmp(name, "system.posix_acl", 16) == 0) return 1;
  return 0;
}

int csupervisor_is_in_memory(const char *path) {
  struct statfs system;
  if (statfs(path, &system) < 0) return -errno;
  return system.f_type == TMPFS_MAGIC ? 1 : 0;
}

int csupervisor_memory_file(const void *bytes, size_t count) {
  int file = (int)syscall(SYS_memfd_create, "fubini", MFD_CLOEXEC);
  if (file < 0) return -errno;
  for (size_t written = 0; written < count;) {
    ssize_t put = write(file, (const char *)bytes + written, count - written);
    if (put >= 0) {
      written += (size_t)put;
    } else if (errno != EINTR) {
      int problem = errno;
      close(file);
      return -problem;
    }
  }
  lseek(file, 0, SEEK_SET);
  return file;
}

int csupervisor_set_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0; }

int csupervisor_open(const char *path, int flags, unsigned mode) {
  int file = open(path, flags | O_CLOEXEC, mode);
  return file < 0 ? -errno : file;
}

int64_t csupervisor_peer_uid(int socket) {
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
  return credentials.uid;
}

static int write_file(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t put = write(file, text, strlen(text));
  close(file);
  return put == (ssize_t)strlen(text) ? 0 : -1;
}

// The next child of the caller will be the first process of a PID namespace.
static int leave_namespaces(uid_t user, gid_t group) {
  int flags = CLONE_NEWPID | CLONE_NEWNS;
  if (user == 0) return unshare(flags);
  // Without root only a user namespace of one's own allows the others; the caller stays who it is there.
  char map[64];
  if (unshare(flags | CLONE_NEWUSER) < 0) return -1;
  if (write_file("/proc/self/setgroups", "deny") < 0) return -1;
  snprintf(map, sizeof map, "%u %u 1\n", user, user);
  if (write_file("/proc/self/uid_map", map) < 0) return -1;
  snprintf(map, sizeof map, "%u %u 1\n", group, group);
  return write_file("/proc/self/gid_map", map);
}

// Makes /proc tell of the new PID namespace. Returns a descriptor of the outer one's.
static int replace_proc(void) {
  int outer = open("/proc", O_RDONLY | O_DIRECTORY);
  if (outer < 0) return -1;
  // The host's later mounts still arrive; nothing from here goes there.
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) return -1;
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) return -1;
  return outer;
}

static void close_from(int first) {
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  struct rlimit limit;
  int last = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (int)limit.rlim_cur : 65536;
  for (int file = first; file < last; file++) close(file);
}

// One attempt. Writes 1 to `*executing` when everything but exec has been done.
static int daemonise(const char *const *arguments, const char *const *environment, int null, int log, int enclosed,
                     volatile int *executing) {
  volatile int failure = 0;
  uid_t user = geteuid();
  gid_t group = getegid();
  *executing = 0;
  pid_t pid = vfork();
  if (pid == 0) {
    if (setsid() < 0 || (enclosed && leave_namespaces(user, group) < 0)) {
      failure = errno;
      _exit(1);
    }
    // The second fork makes it a child of init, and no leader of its session.
    pid_t second = vfork();
    if (second == 0) {
      sigset_t empty;
      sigemptyset(&empty);
      sigprocmask(SIG_SETMASK, &empty, NULL);
      int outer = enclosed ? replace_proc() : -1;
      if ((enclosed && outer < 0) || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 || chdir("/") < 0 ||
          (enclosed && outer != 3 && dup2(outer, 3) < 0)) {
        failure = errno;
        _exit(127);
      }
      // What the caller forgot to mark close-on-exec (a pipe of its own output, say) must not stay open for months.
      close_from(enclosed ? 4 : 3);
      *executing = 1;
      execve(arguments[0], (char *const *)arguments, (char *const *)environment);
      failure = errno;
      _exit(127);
    }
    if (second < 0) failure = errno;
    _exit(0);
  }
  if (pid < 0) return errno;
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
  return failure;
}

int csupervisor_daemonise(const char *const *arguments, const char *const *environment, const char *log_path,
                          int enclosed) {
  // Above 3, so that placing descriptors overwrites neither.
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  int log = open(log_path, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
  int failure = null < 0 || log < 0 ? errno : 0;
  if (!failure) {
    int high_null = fcntl(null, F_DUPFD_CLOEXEC, 10), high_log = fcntl(log, F_DUPFD_CLOEXEC, 10);
    volatile int executing = 0;
    if (enclosed) failure = daemonise(arguments, environment, high_null, high_log, 1, &executing);
    if (!enclosed || (failure && !executing)) failure = daemonise(arguments, environment, high_null, high_log, 0, &executing);
    close(high_null);
    close(high_log);
  }
  if (null >= 0) close(null);
  if (log >= 0) close(log);
  return -failure;
}

int csupervisor_set_close_on_exec(int file) { return fcntl(file, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0; }

uint64_t csupervisor_boottime_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int csupervisor_tcp_reachable(const char *address, uint16_t port, int timeout_ms) {
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
  int is_six = inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
  if (!is_six && inet_pton(AF_INET, address, &four.sin_addr) != 1) return 0;
  int socket_descriptor = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_descriptor < 0) return 0;
  int result = is_six ? connect(socket_descriptor, (struct sockaddr *)&six, sizeof six)
                      : connect(socket_descriptor, (struct sockaddr *)&four, sizeof four);
  if (result < 0 && errno == EINPROGRESS) {
    struct pollfd wait = {.fd = socket_descriptor, .events = POLLOUT};
    int error = 1;
    socklen_t length = sizeof error;
    if (poll(&wait, 1, timeout_ms) == 1) getsockopt(socket_descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    result = error ? -1 : 0;
  }
  close(socket_descriptor);
  return result == 0;
}

int csupervisor_exited(int status) { return WIFEXITED(status); }
int csupervisor_exit_code(int status) { return WEXITSTATUS(status); }
int csupervisor_signal(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }

int csupervisor_set_nonblocking(int file) {
  int flags = fcntl(file, F_GETFL);
  return flags < 0 || fcntl(file, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int csupervisor_poll_create(void) {
  int poll = epoll_create1(EPOLL_CLOEXEC);
  return poll < 0 ? -errno : poll;
}

int csupervisor_poll_watch(int poll, int file, int writing, int again) {
  struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.fd = file};
  return epoll_ctl(poll, again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, file, &event) < 0 ? -errno : 0;
}

int csupervisor_poll_wait(int poll, int *ready, int count) {
  struct epoll_event events[128];
  int got = epoll_wait(poll, events, count < 128 ? count : 128, -1);
  if (got < 0) return errno == EINTR ? 0 : -errno;
  for (int i = 0; i < got; i++) ready[i] = events[i].data.fd;
  return got;
}

int csupervisor_timer_create(void) {
  int timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
  return timer < 0 ? -errno : timer;
}

int csupervisor_timer_arm(int timer, uint64_t at_ns) {
  struct itimerspec setting = {0};
  if (at_ns != UINT64_MAX) {
    // All zeros would disarm it; a moment at boot is long past.
    if (at_ns == 0) at_ns = 1;
    setting.it_value.tv_sec = (time_t)(at_ns / 1000000000u);
    setting.it_value.tv_nsec = (long)(at_ns % 1000000000u);
  }
  return timerfd_settime(timer, TFD_TIMER_ABSTIME, &setting, NULL) < 0 ? -errno : 0;
}

int csupervisor_signals_create(void) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGHUP);
  sigaddset(&mask, SIGUSR1);
  sigaddset(&mask, SIGUSR2);
  if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0) return -errno;
  signal(SIGPIPE, SIG_IGN);
  int signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  return signals < 0 ? -errno : signals;
}

int csupervisor_signals_next(int signals) {
  struct signalfd_siginfo info;
  return read(signals, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

int csupervisor_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0; }

int csupervisor_accept(int listener) {
  int socket_descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  return socket_descriptor < 0 ? -errno : socket_descriptor;
}

void csupervisor_use_builtin_name_services(void) {
#ifdef __GLIBC__
  // A program with an interpreter is dynamically linked: its name services come from the libc that it runs on.
  if (getauxval(AT_BASE) != 0) return;
  static const char *const databases[] = {"passwd", "group", "services", "protocols", "networks"};
  for (size_t i = 0; i < sizeof databases / sizeof *databases; i++) __nss_configure_lookup(databases[i], "files");
  __nss_configure_lookup("hosts", "files dns");
#endif
}

void csupervisor_bound_heaps(void) {
#ifdef __GLIBC__
  // Setting any of them also stops glibc from raising the thresholds by itself after the first large block.
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 10);
#endif
}

void csupervisor_trim_heaps(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}
