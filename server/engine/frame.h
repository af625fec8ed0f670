#ifndef SEQMSED_FRAME_H
#define SEQMSED_FRAME_H

/* What an engine child says, over a pipe: a type, a length, and that many bytes. The child writes, the supervisor reads; it
 * trusts no length above the limits here.
 *
 *     byte 0: type    bytes 1..3: zero    bytes 4..7: length, little-endian    payload
 */

#include "core/base/err.h"

#include <stddef.h>

enum frame_type {
	FRAME_ANSWER = 'J',   /* JSON: what an inspection found; the last frame */
	FRAME_BEAT = 'T',     /* JSON: cpu_seconds; a sign of life (server/engine/beat.h) */
	FRAME_PROGRESS = 'P', /* JSON: phase, done, total, fraction, current */
	FRAME_LAYER = 'L',    /* JSON: a finished layer (server/engine/layer_frame.h) */
	FRAME_WARNING = 'W',  /* JSON: code, layer, detail */
	FRAME_FILE = 'A',     /* JSON: name, media_type; bytes follow */
	FRAME_BYTES = 'B',    /* a piece of the file */
	FRAME_FILE_END = 'C', /* the file is whole */
	FRAME_DONE = 'D',     /* nothing: the search went well; the last frame */
	FRAME_ERROR = 'E',    /* JSON: code, detail; the last frame */
};

enum { FRAME_MAX_BYTES = 1 << 20, FRAME_MAX_JSON = 64 << 20 };

/* Writes a whole frame; for the child, any thread of it. */
int frame_write(int fd, enum frame_type type, const void *data, size_t len, struct err *e);

struct frame {
	enum frame_type type;
	const char *data; /* the reader's, until the next call; no NUL at its end */
	size_t len;
};

struct frame_reader;

struct frame_reader *frame_reader_new(int fd, struct err *e); /* fd stays the caller's and should not block */
void frame_reader_free(struct frame_reader *r);
/* 1: *f is a frame; 0: not whole yet, wait until fd is readable; -1: failed, or the writer is gone (ERR_IO). */
int frame_read(struct frame_reader *r, struct frame *f, struct err *e);

#endif
