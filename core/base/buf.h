#ifndef SEQMSE_BUF_H
#define SEQMSE_BUF_H

/* A growable byte buffer. `struct buf b = BUF_INIT; buf_add(&b, …); … buf_fini(&b);`
 *
 * Adding never fails half-way: when memory runs out the buffer remembers it, further adds do nothing, and buf_failed() says
 * so at the end, so that a writer needs one check. data is NUL-terminated after every successful add (the NUL is not counted
 * in len), so text can be handed to functions that want a string. */

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data; /* NULL while nothing was added */
	size_t len, cap;
	bool failed;
};

#define BUF_INIT                  \
	{                         \
		NULL, 0, 0, false \
	}

void buf_add(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_failed(const struct buf *b);
void buf_fail(struct buf *b);  /* something that belongs into it could not be made */
void buf_reset(struct buf *b); /* empties it, keeps the memory */
void buf_fini(struct buf *b);  /* frees it; the buffer is as new */

#endif
