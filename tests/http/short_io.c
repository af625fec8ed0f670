/* LD_PRELOAD: reads and writes that move fewer bytes than asked for, or none because a signal came (EINTR), as the file $SHORT_IO says. Its
 * numbers are shared memory, so that a test can say so, and take it back, while the process runs. An engine, to which the daemon hands no
 * environment, gets this library and the file $SHORT_IO_ENGINE all the same.
 *
 * Only what a kernel may do is done: eventfds and their like are left alone, and so are writes to a pipe that are atomic. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { WRITE, PWRITE, READ, PREAD, SEND, RECV, CALLS };
enum how { HALF, ONE_BYTE, INTERRUPTED };

/* Of each call. */
struct orders {
	atomic_long count; /* so far, of those that could have been cut */
	atomic_long at;    /* this one is cut; 0: none */
	atomic_long every; /* each so many-th is; 0: none */
	atomic_long how;
	atomic_long cut;
};

static struct orders none[CALLS], *orders = none;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("SHORT_IO");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (p != MAP_FAILED)
		orders = p;
}

static int can_be_cut(enum call c, int fd, size_t n)
{
	struct stat s;
	int error = errno, known = fstat(fd, &s) == 0;
	errno = error;
	if (!known || n < 2)
		return 0;
	return S_ISREG(s.st_mode) || S_ISSOCK(s.st_mode) || (S_ISFIFO(s.st_mode) && (c == READ || n > PIPE_BUF));
}

/* How many of n bytes the call may move; -1: none, EINTR. */
static ssize_t share(enum call c, int fd, size_t n)
{
	struct orders *o = orders + c;
	if (!can_be_cut(c, fd, n))
		return (ssize_t)n;
	long count = atomic_fetch_add(&o->count, 1) + 1, every = atomic_load(&o->every);
	if (count != atomic_load(&o->at) && !(every && count % every == 0))
		return (ssize_t)n;
	atomic_fetch_add(&o->cut, 1);
	switch (atomic_load(&o->how)) {
	case INTERRUPTED:
		errno = EINTR;
		return -1;
	case ONE_BYTE:
		return 1;
	default:
		return (ssize_t)((n + 1) / 2);
	}
}

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

#define NEXT(f) ((__typeof__(&f))next(#f))
#define CUT(call, fd, n, ...)                    \
	do {                                     \
		ssize_t m = share(call, fd, n);  \
		return m < 0 ? -1 : __VA_ARGS__; \
	} while (0)

ssize_t write(int fd, const void *p, size_t n)
{
	CUT(WRITE, fd, n, NEXT(write)(fd, p, (size_t)m));
}
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	CUT(PWRITE, fd, n, NEXT(pwrite)(fd, p, (size_t)m, at));
}
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	CUT(PWRITE, fd, n, NEXT(pwrite64)(fd, p, (size_t)m, at));
}
ssize_t read(int fd, void *p, size_t n)
{
	CUT(READ, fd, n, NEXT(read)(fd, p, (size_t)m));
}
ssize_t pread(int fd, void *p, size_t n, off_t at)
{
	CUT(PREAD, fd, n, NEXT(pread)(fd, p, (size_t)m, at));
}
ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
	CUT(PREAD, fd, n, NEXT(pread64)(fd, p, (size_t)m, at));
}
ssize_t send(int fd, const void *p, size_t n, int flags)
{
	CUT(SEND, fd, n, NEXT(send)(fd, p, (size_t)m, flags));
}
ssize_t recv(int fd, void *p, size_t n, int flags)
{
	CUT(RECV, fd, n, NEXT(recv)(fd, p, (size_t)m, flags));
}
ssize_t sendfile(int to, int from, off_t *at, size_t n)
{
	CUT(SEND, to, n, NEXT(sendfile)(to, from, at, (size_t)m));
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t n)
{
	CUT(SEND, to, n, NEXT(sendfile64)(to, from, at, (size_t)m));
}

/* What the compiler makes of the above where it knows how large the buffer is. */
ssize_t __read_chk(int fd, void *p, size_t n, size_t size);
ssize_t __pread_chk(int fd, void *p, size_t n, off_t at, size_t size);
ssize_t __pread64_chk(int fd, void *p, size_t n, off64_t at, size_t size);
ssize_t __recv_chk(int fd, void *p, size_t n, size_t size, int flags);
ssize_t __read_chk(int fd, void *p, size_t n, size_t size)
{
	return n > size ? (abort(), -1) : read(fd, p, n);
}
ssize_t __pread_chk(int fd, void *p, size_t n, off_t at, size_t size)
{
	return n > size ? (abort(), -1) : pread(fd, p, n, at);
}
ssize_t __pread64_chk(int fd, void *p, size_t n, off64_t at, size_t size)
{
	return n > size ? (abort(), -1) : pread64(fd, p, n, at);
}
ssize_t __recv_chk(int fd, void *p, size_t n, size_t size, int flags)
{
	return n > size ? (abort(), -1) : recv(fd, p, n, flags);
}

static size_t total(const struct iovec *v, size_t n)
{
	size_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += v[i].iov_len;
	return sum;
}

/* Several pieces at once: what is cut is cut inside the first. */
static struct iovec cut_first(const struct iovec *v, ssize_t m)
{
	struct iovec first = *v;
	if ((size_t)m < first.iov_len)
		first.iov_len = (size_t)m;
	return first;
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	size_t all = total(v, (size_t)n);
	ssize_t m = share(WRITE, fd, all);
	if (m < 0 || (size_t)m == all)
		return m < 0 ? -1 : NEXT(writev)(fd, v, n);
	struct iovec first = cut_first(v, m);
	return NEXT(writev)(fd, &first, 1);
}

ssize_t sendmsg(int fd, const struct msghdr *h, int flags)
{
	size_t all = total(h->msg_iov, h->msg_iovlen);
	ssize_t m = share(SEND, fd, all);
	if (m < 0 || (size_t)m == all)
		return m < 0 ? -1 : NEXT(sendmsg)(fd, h, flags);
	struct iovec first = cut_first(h->msg_iov, m);
	struct msghdr one = *h;
	one.msg_iov = &first;
	one.msg_iovlen = 1;
	return NEXT(sendmsg)(fd, &one, flags);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                char *const argv[], char *const env[])
{
	enum { MOST = 64 };
	static __thread char preload[PATH_MAX + 16], file[PATH_MAX + 16];
	char *more[MOST + 3];
	size_t n = 0;
	const char *library = getenv("LD_PRELOAD"), *engine = getenv("SHORT_IO_ENGINE");
	if (!library || !engine)
		return NEXT(posix_spawn)(pid, path, actions, attributes, argv, env);
	for (; env[n] && n < MOST; n++)
		more[n] = env[n];
	(void)snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library);
	(void)snprintf(file, sizeof file, "SHORT_IO=%s", engine);
	more[n++] = preload;
	more[n++] = file;
	more[n] = NULL;
	return NEXT(posix_spawn)(pid, path, actions, attributes, argv, more);
}
