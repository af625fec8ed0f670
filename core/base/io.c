#include "core/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int io_write(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pwrite(int fd, const void *data, size_t len, off_t at)
{
	const char *p = data;
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t io_pread(int fd, void *out, size_t len, off_t at)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, (char *)out + done, len - done, at + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_copy(int from, int to)
{
	char chunk[1 << 16];
	off_t at = 0;
	for (;;) {
		ssize_t n = io_pread(from, chunk, sizeof chunk, at);
		if (n <= 0)
			return (int)n;
		if (io_pwrite(to, chunk, (size_t)n, at) < 0)
			return -1;
		at += n;
	}
}

int io_read_rest(int fd, struct buf *out)
{
	char chunk[65536];
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (int)n;
		buf_add(out, chunk, (size_t)n);
	}
}

int io_sync_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, slash > path ? (size_t)(slash - path) : 1) : strdup(".");
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = fd < 0 ? -1 : fsync(fd), why = errno;
	if (fd >= 0)
		(void)close(fd);
	free(folder);
	errno = why;
	return rc < 0 && why == EINVAL ? 0 : rc;
}

int io_make_folder(const char *path, mode_t mode)
{
	if (mkdir(path, mode) < 0)
		return errno == EEXIST ? 0 : -1;
	if (io_sync_name(path) == 0)
		return 0;
	int why = errno;
	(void)rmdir(path);
	errno = why;
	return -1;
}

int io_next_name(DIR *folder, const char **name)
{
	const struct dirent *x;
	do {
		errno = 0;
		x = readdir(folder);
	} while (x && (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0));
	*name = x ? x->d_name : NULL;
	return x ? 1 : errno ? -1 : 0;
}
