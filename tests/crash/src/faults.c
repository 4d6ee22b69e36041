/* Loaded before the C library by LD_PRELOAD. Calls on files below FAULT_BELOW are counted; the FAULT_AT-th fails with EIO,
 * and with FAULT_FOREVER=1 all after it. Their number is written to FAULT_COUNT at exit. With CLOCK_JUMPS=1 the clock on the
 * wall (not the monotonic one) jumps by up to a day with every look at it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls, looks;

static int fails(void)
{
    const char *at = getenv("FAULT_AT"), *forever = getenv("FAULT_FOREVER");
    long number = atomic_fetch_add(&calls, 1) + 1, first = at ? atol(at) : 0;
    if (first > 0 && (number == first || (forever && number > first))) {
        errno = EIO;
        return 1;
    }
    return 0;
}

static int path_fails(const char *path)
{
    const char *below = getenv("FAULT_BELOW");
    return below && path && strncmp(path, below, strlen(below)) == 0 && fails();
}

static int fd_fails(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return path_fails(path);
}

static int at_fails(int dir, const char *path)
{
    return path && path[0] == '/' ? path_fails(path) : dir != AT_FDCWD && fd_fails(dir);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...)                              \
    {                                                                       \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                       \
        return path_fails(path) ? -1 : NEXT(name)(path, flags, mode);       \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                        \
    int name(int dir, const char *path, int flags, ...)                     \
    {                                                                       \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                       \
        return at_fails(dir, path) ? -1 : NEXT(name)(dir, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int fd, void *into, size_t bytes) { return fd_fails(fd) ? -1 : NEXT(read)(fd, into, bytes); }
ssize_t write(int fd, const void *from, size_t bytes) { return fd_fails(fd) ? -1 : NEXT(write)(fd, from, bytes); }
ssize_t writev(int fd, const struct iovec *from, int n) { return fd_fails(fd) ? -1 : NEXT(writev)(fd, from, n); }
ssize_t pread64(int fd, void *into, size_t bytes, off64_t at) { return fd_fails(fd) ? -1 : NEXT(pread64)(fd, into, bytes, at); }
int fsync(int fd) { return fd_fails(fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return fd_fails(fd) ? -1 : NEXT(fdatasync)(fd); }
int rename(const char *from, const char *to) { return path_fails(to) ? -1 : NEXT(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return path_fails(path) ? -1 : NEXT(mkdir)(path, mode); }
int rmdir(const char *path) { return path_fails(path) ? -1 : NEXT(rmdir)(path); }
int unlink(const char *path) { return path_fails(path) ? -1 : NEXT(unlink)(path); }
int unlinkat(int dir, const char *path, int flags) { return at_fails(dir, path) ? -1 : NEXT(unlinkat)(dir, path, flags); }

static long jump(void)
{
    if (!getenv("CLOCK_JUMPS"))
        return 0;
    unsigned long look = atomic_fetch_add(&looks, 1) + (unsigned long)getpid();
    return (long)(look * 2654435761UL % 172800UL) - 86400;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int answer = NEXT(clock_gettime)(clock, time);
    if (answer == 0 && clock == CLOCK_REALTIME)
        time->tv_sec += jump();
    return answer;
}

int gettimeofday(struct timeval *time, void *zone)
{
    int answer = NEXT(gettimeofday)(time, zone);
    if (answer == 0)
        time->tv_sec += jump();
    return answer;
}

time_t time(time_t *into)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into)
        *into = now.tv_sec;
    return now.tv_sec;
}

__attribute__((destructor)) static void say_count(void)
{
    const char *path = getenv("FAULT_COUNT");
    char text[64];
    int length = snprintf(text, sizeof text, "%ld %ld", (long)calls, (long)looks);
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;
    if (fd >= 0)
        syscall(SYS_write, fd, text, length);
}
