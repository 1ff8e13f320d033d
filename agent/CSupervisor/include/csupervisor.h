// System calls that Swift cannot make itself: between vfork and exec only a few calls are allowed, and variadic ones are
// not imported at all.
#ifndef FUBINI_CSUPERVISOR_H
#define FUBINI_CSUPERVISOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What a child process is made of. Arrays of strings end with NULL.
struct csupervisor_spawn {
  const char *const *arguments;
  const char *const *environment;
  // NULL: stays where it is.
  const char *directory;
  // Host paths that are bound, in a mount namespace of the child's own, at `stage`/0, `stage`/1, ... . Needs CAP_SYS_ADMIN.
  const char *const *mounts;
  const char *stage;
  // Becomes descriptor 0, 1, 2.
  int standard_input, standard_output, standard_error;
  // Becomes descriptor 3 and stays open across exec; -1 for none.
  int kept;
  // Becomes descriptor 4 and stays open across exec; -1 for none.
  int told;
  // Opened `cgroup.procs` files to which the child writes itself before anything else; -1 for none.
  int cgroup_procs[3];
  // Negative: as the parent.
  int64_t user, group;
  // 1: no_new_privs is set before exec.
  int no_new_privileges;
  // A pipe's end (close-on-exec), or -1. With it the call does not wait until the child has become its program: a child that cannot
  // writes two ints, the step and errno, and exits; one that can writes nothing.
  int failure_report;
};

// Which step failed, when `csupervisor_spawn` returned a negative number.
enum csupervisor_step {
  CSUPERVISOR_FORK = 1,
  CSUPERVISOR_CGROUP,
  CSUPERVISOR_MOUNT,
  CSUPERVISOR_IDENTITY,
  CSUPERVISOR_DESCRIPTORS,
  CSUPERVISOR_DIRECTORY,
  CSUPERVISOR_EXEC,
};

// Starts a child in a session of its own that dies with the calling thread. Returns its pid, or -errno with `*step` set.
pid_t csupervisor_spawn(const struct csupervisor_spawn *spawn, int *step);

// Whether a file carries attributes of a user's making: extended ones, or an access control list. 1, 0, or -errno.
int csupervisor_has_attributes(int file);

// Opens `path` for reading as if `directory` were the root: no link and no `..` leads out of it, no device or FIFO is
// opened and nothing blocks. Returns a descriptor or -errno.
int csupervisor_open_in_root(int directory, const char *path);

// Has the kernel begin to write a part of `file` to its disk. A hint: it waits for nothing, and says nothing.
void csupervisor_begin_writing(int file, int64_t offset, int64_t count);

// Writes everything that is dirty on the file system of `file` to its disk. 0, or -errno.
int csupervisor_sync_file_system(int file);

// Lets the file `to` share the blocks of `from`, copied when either is written to, on file systems that can. 0, or -errno.
int csupervisor_clone(int from, int to);

// Lets two existing files swap their names, in one step. 0, or -errno. The system call, because glibc's name for it is of 2.28.
int csupervisor_exchange(const char *a, const char *b);

// Whether a path lies on a tmpfs: 1, 0, or -errno.
int csupervisor_is_in_memory(const char *path);

// A file in memory with these bytes, at its beginning (close-on-exec), or -errno.
int csupervisor_memory_file(const void *bytes, size_t count);

int csupervisor_set_subreaper(void);
// Opens or creates; returns a descriptor (close-on-exec) or -errno.
int csupervisor_open(const char *path, int flags, unsigned mode);
// The uid of the process at the other end of a unix socket, or -errno.
int64_t csupervisor_peer_uid(int socket);
// Starts a process in a session of its own that outlives the caller (two forks). Returns 0 or -errno.
//
// With `enclosed`, where the kernel allows it, the process is the first of a PID namespace, so that the kernel kills everything that it ever
// started when it dies. It then has a /proc that tells of that namespace, and descriptor 3 is a directory: the /proc of the
// namespace around it. Otherwise it is an ordinary process and has descriptors 0, 1 and 2 only.
int csupervisor_daemonise(const char *const *arguments, const char *const *environment, const char *log_path,
                          int enclosed);
// Nanoseconds since boot, time asleep included.
uint64_t csupervisor_boottime_ns(void);
// 1 if a TCP connection to the numeric address can be opened within the time, else 0.
int csupervisor_tcp_reachable(const char *address, uint16_t port, int timeout_ms);

// A connected pair of stream sockets (close-on-exec); whoever sends to the first end is known by uid. 0, or -errno.
int csupervisor_socket_pair(int ends[2]);
// Sends bytes, and with them a descriptor (-1: none). Returns how many bytes went, or -errno.
ssize_t csupervisor_send(int socket, const void *bytes, size_t count, int file);
// Receives bytes, at most one descriptor (close-on-exec; -1: none), and the sender's real uid (-1 where it is not asked for).
// Returns the number of bytes, 0 at the end, or -errno; -EPROTO for more than one descriptor, which are then closed.
ssize_t csupervisor_receive(int socket, void *bytes, size_t count, int *file, int64_t *user);

int csupervisor_set_nonblocking(int file);
int csupervisor_set_close_on_exec(int file);

// The event loop's descriptors: each returns a descriptor (close-on-exec) or -errno.
int csupervisor_poll_create(void);
// Watches `file` for input (and room for output, if `writing`); `again` changes what is watched.
int csupervisor_poll_watch(int poll, int file, int writing, int again);
// Waits without limit and writes the ready descriptors. Returns their number (0 when interrupted) or -errno.
int csupervisor_poll_wait(int poll, int *ready, int count);
// A timer on CLOCK_BOOTTIME.
int csupervisor_timer_create(void);
// Absolute nanoseconds since boot; UINT64_MAX disarms.
int csupervisor_timer_arm(int timer, uint64_t at_ns);
// Blocks SIGCHLD, SIGTERM, SIGINT and SIGHUP and makes them readable; ignores SIGPIPE.
int csupervisor_signals_create(void);
// The next signal, or 0.
int csupervisor_signals_next(int signals);
int csupervisor_pipe(int ends[2]);
int csupervisor_accept(int listener);

// wait(2)'s macros.
int csupervisor_exited(int status);
int csupervisor_exit_code(int status);
int csupervisor_signal(int status);

// In a statically linked program: names are looked up in /etc/hosts and the DNS, users in /etc/passwd, and nowhere else,
// whatever /etc/nsswitch.conf says. Anything else would load modules that belong to another C library.
void csupervisor_use_builtin_name_services(void);
// The C library's heaps: at most two, and large freed blocks go back to the system at once. Before the first thread starts.
void csupervisor_bound_heaps(void);
// Gives all freed memory back to the system.
void csupervisor_trim_heaps(void);

#endif
