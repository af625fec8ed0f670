#include "mishap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static _Thread_local struct {
	bool on;
	long calls, at;
	const char *failed;
} mishap;

void mishap_begin(long n)
{
	mishap.calls = 0;
	mishap.at = n;
	mishap.failed = NULL;
	mishap.on = true;
}

bool mishap_end(void)
{
	mishap.on = false;
	return mishap.failed != NULL;
}

long mishap_calls(void)
{
	return mishap.calls;
}

const char *mishap_name(void)
{
	return mishap.failed ? mishap.failed : "nothing";
}

static bool fails(const char *name, int error)
{
	if (!mishap.on || ++mishap.calls != mishap.at)
		return false;
	mishap.failed = name;
	errno = error;
	return true;
}

/* The linker's names of a call as it was made, and of what it would have been. */
#define CALL(type, name, parameters, arguments, failure, error)                   \
	type __real_##name parameters;                                            \
	type __wrap_##name parameters;                                            \
	type __wrap_##name parameters                                             \
	{                                                                         \
		return fails(#name, error) ? (failure) : __real_##name arguments; \
	}

/* ---- memory ---- */

CALL(void *, malloc, (size_t n), (n), NULL, ENOMEM)
CALL(void *, calloc, (size_t n, size_t size), (n, size), NULL, ENOMEM)
CALL(void *, realloc, (void *p, size_t n), (p, n), NULL, ENOMEM)
CALL(char *, strdup, (const char *s), (s), NULL, ENOMEM)
CALL(char *, strndup, (const char *s, size_t n), (s, n), NULL, ENOMEM)
CALL(int, vasprintf, (char **out, const char *format, va_list ap), (out, format, ap), -1, ENOMEM)

int __wrap_asprintf(char **out, const char *format, ...);
int __wrap_asprintf(char **out, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	int rc = __wrap_vasprintf(out, format, ap);
	va_end(ap);
	return rc;
}

/* ---- files ---- */

CALL(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), -1, EIO)
CALL(ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), -1, EIO)
CALL(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), -1, EIO)
CALL(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), -1, EIO)
CALL(int, fsync, (int fd), (fd), -1, EIO)
CALL(int, ftruncate, (int fd, off_t size), (fd, size), -1, EIO)
CALL(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence), -1, EIO)
CALL(int, fstat, (int fd, struct stat *out), (fd, out), -1, EIO)
CALL(int, fstatat, (int fd, const char *path, struct stat *out, int flags), (fd, path, out, flags), -1, EIO)
CALL(int, fstatvfs, (int fd, struct statvfs *out), (fd, out), -1, EIO)
CALL(int, futimens, (int fd, const struct timespec times[2]), (fd, times), -1, EIO)
CALL(int, flock, (int fd, int how), (fd, how), -1, EIO)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, EIO)
CALL(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode), -1, EIO)
CALL(int, rename, (const char *from, const char *to), (from, to), -1, EIO)
CALL(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), -1, EIO)
CALL(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), -1, EIO)
CALL(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), -1, EIO)
CALL(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1, EMFILE)
CALL(int, pipe2, (int fds[2], int flags), (fds, flags), -1, EMFILE)
CALL(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL, EIO)
CALL(DIR *, fdopendir, (int fd), (fd), NULL, ENOMEM)
CALL(DIR *, opendir, (const char *path), (path), NULL, ENOMEM)
CALL(struct dirent *, readdir, (DIR * d), (d), NULL, EIO)
CALL(ssize_t, getrandom, (void *to, size_t n, unsigned flags), (to, n, flags), -1, EIO)

/* A third argument that is not there is read, too, and handed on unused. */
static long third(va_list ap)
{
	return va_arg(ap, long);
}

#define CALL_MORE(name, parameters, arguments)                              \
	int __real_##name parameters;                                       \
	int __wrap_##name parameters;                                       \
	int __wrap_##name parameters                                        \
	{                                                                   \
		va_list ap;                                                 \
		va_start(ap, flags);                                        \
		long more = third(ap);                                      \
		va_end(ap);                                                 \
		return fails(#name, EMFILE) ? -1 : __real_##name arguments; \
	}

CALL_MORE(open, (const char *path, int flags, ...), (path, flags, more))
CALL_MORE(openat, (int fd, const char *path, int flags, ...), (fd, path, flags, more))
CALL_MORE(fcntl, (int fd, int flags, ...), (fd, flags, more))

/* ---- threads ---- */

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	return fails("pthread_create", EAGAIN) ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

/* ---- the database ---- */

CALL(int, sqlite3_open_v2, (const char *path, sqlite3 **out, int flags, const char *vfs), (path, out, flags, vfs), SQLITE_CANTOPEN,
     EIO)
CALL(int, sqlite3_exec, (sqlite3 * d, const char *sql, int (*row)(void *, int, char **, char **), void *ctx, char **why),
     (d, sql, row, ctx, why), SQLITE_IOERR, EIO)
CALL(int, sqlite3_prepare_v2, (sqlite3 * d, const char *sql, int n, sqlite3_stmt **out, const char **rest), (d, sql, n, out, rest),
     SQLITE_NOMEM, ENOMEM)
CALL(int, sqlite3_step, (sqlite3_stmt * s), (s), SQLITE_IOERR, EIO)
CALL(int, sqlite3_bind_text, (sqlite3_stmt * s, int i, const char *text, int n, void (*drop)(void *)), (s, i, text, n, drop),
     SQLITE_NOMEM, ENOMEM)

/* ---- the HTTP library ---- */

CALL(struct MHD_Response *, MHD_create_response_from_buffer, (size_t n, void *from, enum MHD_ResponseMemoryMode mode),
     (n, from, mode), NULL, ENOMEM)
CALL(struct MHD_Response *, MHD_create_response_from_callback,
     (uint64_t size, size_t block, MHD_ContentReaderCallback more, void *x, MHD_ContentReaderFreeCallback drop),
     (size, block, more, x, drop), NULL, ENOMEM)
CALL(struct MHD_Response *, MHD_create_response_from_fd_at_offset64, (uint64_t size, int fd, uint64_t at), (size, fd, at), NULL,
     ENOMEM)
CALL(enum MHD_Result, MHD_add_response_header, (struct MHD_Response * m, const char *name, const char *value), (m, name, value),
     MHD_NO, ENOMEM)
