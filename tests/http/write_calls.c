/* LD_PRELOAD: counts the calls with which a process changes something outside itself (files, folders, what it sends), and at one of them ends
 * it as kill -9 does, or lets the call fail, as the file $WRITE_CALLS says. Its numbers are shared memory. What the process starts is left alone.
 *
 * The calls of all threads have one count, so that no call is missed. Standard output, the log, and pipes and eventfds
 * inside the process are none of them. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* As write_calls.py numbers them. */
enum call { WRITE, SEND, CREATE, SYNC, RENAME, LINK, REMOVE, FOLDER, SIZE, TIMES };

enum { MOST = 4032 };

struct orders {
	atomic_long count; /* calls so far */
	atomic_long at;    /* it happens at this one; 0: at none */
	atomic_long error; /* what it fails with; 0: the process ends there */
	atomic_long on;    /* 1: so do all calls of its kind after it (of EINTR every second, for everybody tries again) */
	atomic_long hit;   /* how often it happened */
	long unused[3];
	unsigned char call[MOST]; /* which call each was */
};

static struct orders none, *orders = &none;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("WRITE_CALLS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (p != MAP_FAILED)
		orders = p;
}

/* 0: the call may be made; -1: it fails. */
static int before(enum call c)
{
	long n = atomic_fetch_add(&orders->count, 1) + 1, at = atomic_load(&orders->at), error = atomic_load(&orders->error);
	if (n < MOST)
		orders->call[n] = (unsigned char)c;
	if (!at || n < at || (n > at && (!atomic_load(&orders->on) || orders->call[at] != c || (error == EINTR && (n - at) % 2))))
		return 0;
	atomic_fetch_add(&orders->hit, 1);
	if (!error) {
		(void)kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	errno = (int)error;
	return -1;
}

static int before_with(enum call c, int fd)
{
	struct stat s;
	int error = errno,
	    counts = fd > STDERR_FILENO && fstat(fd, &s) == 0 && (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode) || S_ISSOCK(s.st_mode));
	errno = error;
	return counts ? before(c) : 0;
}

#define CALL(f, ...) ((__typeof__(&f))dlsym(RTLD_NEXT, #f))(__VA_ARGS__)

#define WITH_FD(c, type, f, parameters, fd, ...)                       \
	type f parameters                                              \
	{                                                              \
		return before_with(c, fd) ? -1 : CALL(f, __VA_ARGS__); \
	}
#define WITH_PATH(c, f, parameters, ...)                      \
	int f parameters                                      \
	{                                                     \
		return before(c) ? -1 : CALL(f, __VA_ARGS__); \
	}

WITH_FD(WRITE, ssize_t, write, (int fd, const void *p, size_t n), fd, fd, p, n)
WITH_FD(WRITE, ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), fd, fd, p, n, at)
WITH_FD(WRITE, ssize_t, pwrite64, (int fd, const void *p, size_t n, off64_t at), fd, fd, p, n, at)
WITH_FD(WRITE, ssize_t, writev, (int fd, const struct iovec *v, int n), fd, fd, v, n)
WITH_FD(SEND, ssize_t, send, (int fd, const void *p, size_t n, int flags), fd, fd, p, n, flags)
WITH_FD(SEND, ssize_t, sendmsg, (int fd, const struct msghdr *h, int flags), fd, fd, h, flags)
WITH_FD(SEND, ssize_t, sendfile, (int to, int from, off_t *at, size_t n), to, to, from, at, n)
WITH_FD(SEND, ssize_t, sendfile64, (int to, int from, off64_t *at, size_t n), to, to, from, at, n)
WITH_FD(SYNC, int, fsync, (int fd), fd, fd)
WITH_FD(SYNC, int, fdatasync, (int fd), fd, fd)
WITH_PATH(RENAME, rename, (const char *from, const char *to), from, to)
WITH_PATH(RENAME, renameat, (int a, const char *from, int b, const char *to), a, from, b, to)
WITH_PATH(LINK, link, (const char *from, const char *to), from, to)
WITH_PATH(LINK, linkat, (int a, const char *from, int b, const char *to, int flags), a, from, b, to, flags)
WITH_PATH(REMOVE, unlink, (const char *path), path)
WITH_PATH(REMOVE, unlinkat, (int at, const char *path, int flags), at, path, flags)
WITH_PATH(REMOVE, rmdir, (const char *path), path)
WITH_PATH(FOLDER, mkdir, (const char *path, mode_t mode), path, mode)
WITH_PATH(FOLDER, mkdirat, (int at, const char *path, mode_t mode), at, path, mode)
WITH_FD(SIZE, int, ftruncate, (int fd, off_t size), fd, fd, size)
WITH_FD(SIZE, int, ftruncate64, (int fd, off64_t size), fd, fd, size)
WITH_FD(SIZE, int, fallocate, (int fd, int mode, off_t at, off_t n), fd, fd, mode, at, n)
WITH_FD(TIMES, int, futimens, (int fd, const struct timespec when[2]), fd, fd, when)

/* Only what may make a file, or empty one. */
#define MAKES (O_CREAT | O_TRUNC | __O_TMPFILE)
#define OPEN(f, declared, ...)                                        \
	int f declared                                                \
	{                                                             \
		va_list ap;                                           \
		va_start(ap, flags);                                  \
		mode_t mode = flags & MAKES ? va_arg(ap, mode_t) : 0; \
		va_end(ap);                                           \
		if (flags & MAKES && before(CREATE))                  \
			return -1;                                    \
		return CALL(f, __VA_ARGS__, flags, mode);             \
	}
OPEN(open, (const char *path, int flags, ...), path)
OPEN(open64, (const char *path, int flags, ...), path)
OPEN(openat, (int at, const char *path, int flags, ...), at, path)
OPEN(openat64, (int at, const char *path, int flags, ...), at, path)
