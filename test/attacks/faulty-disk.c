/*
 * Stands between a program and the C library (LD_PRELOAD) and makes the disk below one folder fail: what a broken drive, a
 * network file system without its server, or a controller that resets its bus looks like from above. FAULTY_FOLDER names the folder,
 * FAULTY_MODE a file with one word, read at every call, so that a test breaks and mends the disk while the program runs:
 *   eio         writes fail with EIO            half       a write takes half of its bytes, the next one fails
 *   hang        writes wait until mended        slow:MS    each write takes MS milliseconds
 *   sync-eio    flushes fail with EIO           sync-hang  flushes wait until mended
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int concerns(int fd) {
  const char *folder = getenv("FAULTY_FOLDER");
  char link[64], path[4096];
  if (folder == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strncmp(path, folder, strlen(folder)) == 0;
}

/* The word in the mode's file; "ok" without one. */
static void mode_of(char word[32]) {
  const char *file = getenv("FAULTY_MODE");
  strcpy(word, "ok");
  if (file == NULL) return;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t length = syscall(SYS_read, fd, word, 31);
  syscall(SYS_close, fd);
  word[length > 0 ? length : 0] = 0;
}

static void sleep_ms(long ms) {
  struct timespec time = {ms / 1000, (ms % 1000) * 1000000};
  nanosleep(&time, NULL);
}

static void wait_while(const char *mode) {
  char word[32];
  do {
    sleep_ms(5);
    mode_of(word);
  } while (strcmp(word, mode) == 0);
}

/* How many of `bytes` may be written; -1: none, errno says why. */
static ssize_t allowed(int fd, size_t bytes) {
  char word[32];
  if (!concerns(fd)) return (ssize_t)bytes;
  mode_of(word);
  if (strcmp(word, "half") == 0 && bytes > 1) return (ssize_t)(bytes / 2);
  if (strcmp(word, "eio") == 0 || strcmp(word, "half") == 0) {
    errno = EIO;
    return -1;
  }
  if (strcmp(word, "hang") == 0) wait_while("hang");
  if (strncmp(word, "slow:", 5) == 0) sleep_ms(atol(word + 5));
  return (ssize_t)bytes;
}

static int flush_allowed(int fd) {
  char word[32];
  if (!concerns(fd)) return 1;
  mode_of(word);
  if (strcmp(word, "sync-hang") == 0) wait_while("sync-hang");
  if (strcmp(word, "sync-eio") != 0) return 1;
  errno = EIO;
  return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Half of a batch, and then no more: a second half is asked for at once, and is the one that fails. */
static __thread int halved;

ssize_t write(int fd, const void *bytes, size_t count) {
  if (halved == fd + 1) {
    halved = 0;
    errno = EIO;
    return -1;
  }
  ssize_t length = allowed(fd, count);
  if (length < 0) return -1;
  if ((size_t)length < count) halved = fd + 1;
  return REAL(write)(fd, bytes, (size_t)length);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
  return allowed(fd, 1) < 0 ? -1 : REAL(writev)(fd, pieces, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  return allowed(fd, 1) < 0 ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}

int fsync(int fd) {
  return flush_allowed(fd) ? REAL(fsync)(fd) : -1;
}

int fdatasync(int fd) {
  return flush_allowed(fd) ? REAL(fdatasync)(fd) : -1;
}
