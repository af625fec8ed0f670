#include "server/engine/frame.h"

#include "core/base/buf.h"
#include "core/base/io.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER = 8, READ_SIZE = 1 << 16 };

int frame_write(int fd, enum frame_type type, const void *data, size_t len, struct err *e)
{
	if (len > FRAME_MAX_JSON)
		return err_set(e, ERR_INTERNAL, "a frame of %zu bytes is too long", len);
	unsigned char h[HEADER] = {
		(unsigned char)type,       0, 0, 0, (unsigned char)len, (unsigned char)(len >> 8), (unsigned char)(len >> 16),
		(unsigned char)(len >> 24)};
	static pthread_mutex_t whole = PTHREAD_MUTEX_INITIALIZER; /* nothing comes between a header and its payload */
	pthread_mutex_lock(&whole);
	int rc =
		io_write(fd, h, sizeof h) < 0 || io_write(fd, data, len) < 0 ? err_errno(e, errno, "writing to the supervisor") : 0;
	pthread_mutex_unlock(&whole);
	return rc;
}

struct frame_reader {
	int fd;
	struct buf in; /* bytes that were read and not yet given out */
	size_t given;  /* of them, the frame that the caller has */
};

struct frame_reader *frame_reader_new(int fd, struct err *e)
{
	struct frame_reader *r = calloc(1, sizeof *r);
	if (!r)
		err_nomem(e, "a frame reader");
	else
		r->fd = fd;
	return r;
}

void frame_reader_free(struct frame_reader *r)
{
	if (!r)
		return;
	buf_fini(&r->in);
	free(r);
}

static size_t limit_of(int type)
{
	switch (type) {
	case FRAME_BYTES:
		return FRAME_MAX_BYTES;
	case FRAME_FILE_END:
	case FRAME_DONE:
		return 0;
	case FRAME_LAYER:
	case FRAME_ANSWER:
		return FRAME_MAX_JSON;
	case FRAME_BEAT:
	case FRAME_PROGRESS:
	case FRAME_WARNING:
	case FRAME_FILE:
	case FRAME_ERROR:
		return 1 << 16;
	default:
		return SIZE_MAX; /* no such type */
	}
}

/* 1 when a whole frame lies at the front. */
static int parse(struct frame_reader *r, struct frame *f, struct err *e)
{
	const unsigned char *p = (const unsigned char *)r->in.data;
	if (r->in.len < HEADER)
		return 0;
	size_t len = (size_t)p[4] | (size_t)p[5] << 8 | (size_t)p[6] << 16 | (size_t)p[7] << 24, limit = limit_of(p[0]);
	if (limit == SIZE_MAX || len > limit || p[1] || p[2] || p[3])
		return err_set(e, ERR_INTERNAL, "the engine sent a frame of type %d with %zu bytes", p[0], len);
	if (r->in.len < HEADER + len)
		return 0;
	f->type = (enum frame_type)p[0];
	f->data = r->in.data + HEADER;
	f->len = len;
	r->given = HEADER + len;
	return 1;
}

/* Forgets the frame that was given out. */
static void advance(struct frame_reader *r)
{
	if (r->given == 0)
		return;
	memmove(r->in.data, r->in.data + r->given, r->in.len - r->given);
	r->in.len -= r->given;
	r->in.data[r->in.len] = '\0';
	r->given = 0;
}

int frame_read(struct frame_reader *r, struct frame *f, struct err *e)
{
	char chunk[READ_SIZE];
	advance(r);
	for (;;) {
		int rc = parse(r, f, e);
		if (rc != 0)
			return rc;
		ssize_t n = read(r->fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0) /* ours, not the engine's: ERR_IO says that it is gone */
			return err_set(e, ERR_INTERNAL, "reading from the engine: %s", strerrordesc_np(errno));
		if (n == 0)
			return err_set(e, ERR_IO, "the engine ended without a result");
		buf_add(&r->in, chunk, (size_t)n);
		if (buf_failed(&r->in))
			return err_nomem(e, "a frame");
	}
}
