#include "core/base/io.h"

#include <errno.h>
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
