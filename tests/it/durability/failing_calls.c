/*
 * Loaded before libc: one call that changes something below a directory fails, or ends the process.
 *
 * CERTBOUND_FAULT_BELOW  the directory
 * CERTBOUND_FAULT_PLAN   a file of three 64-bit numbers that the test reads and writes while the process runs:
 *                        calls so far, which one fails (0: none), whether all after it fail too
 * CERTBOUND_FAULT_HOW    a number of errno; "torn" (half of a write is done, then EIO); "kill" (half, then SIGKILL)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct plan {
    _Atomic long calls, at, lasting;
};

static struct plan *plan;
static const char *below, *how;

static int (*real_open)(const char *, int, ...);

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    const char *file = getenv("CERTBOUND_FAULT_PLAN");
    below = getenv("CERTBOUND_FAULT_BELOW");
    how = getenv("CERTBOUND_FAULT_HOW");
    int fd = file && below && how ? real_open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) plan = at;
}

static int is_below(const char *path) {
    size_t length = strlen(below);
    return strncmp(path, below, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int names(const char *path) {
    char whole[2 * PATH_MAX + 2], here[PATH_MAX];
    if (!plan || !path) return 0;
    if (path[0] == '/') return is_below(path);
    if (!getcwd(here, sizeof here)) return 0;
    snprintf(whole, sizeof whole, "%s/%s", here, path);
    return is_below(whole);
}

static int holds(int fd) {
    char link[64], path[PATH_MAX + 1];
    if (!plan) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static int due(void) {
    long call = atomic_fetch_add(&plan->calls, 1) + 1, at = atomic_load(&plan->at);
    return at > 0 && (call == at || (call > at && atomic_load(&plan->lasting)));
}

static int fail(void) {
    if (strcmp(how, "kill") == 0) raise(SIGKILL);
    int number = atoi(how);
    errno = number ? number : EIO;
    return -1;
}

static int halves(void) { return strcmp(how, "kill") == 0 || strcmp(how, "torn") == 0; }

#define REAL(name) \
    static typeof(name) *real; \
    if (!real) real = (typeof(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    if (!holds(fd) || !due()) return real(fd, bytes, count);
    if (halves()) (void)!real(fd, bytes, count / 2);
    return fail();
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    if (!holds(fd) || !due()) return real(fd, bytes, count, at);
    if (halves()) (void)!real(fd, bytes, count / 2, at);
    return fail();
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
    REAL(copy_file_range);
    return holds(out) && due() ? fail() : real(in, from, out, to, count, flags);
}

int fsync(int fd) {
    REAL(fsync);
    return holds(fd) && due() ? fail() : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return holds(fd) && due() ? fail() : real(fd);
}

int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags) {
    REAL(sync_file_range);
    return holds(fd) && due() ? fail() : real(fd, at, count, flags);
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    return holds(fd) && due() ? fail() : real(fd, length);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return names(to) && due() ? fail() : real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return names(path) && due() ? fail() : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return names(path) && due() ? fail() : real(path, mode);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        int writes = flags & (O_WRONLY | O_RDWR | O_CREAT); \
        return writes && names(path) && due() ? fail() : real(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
