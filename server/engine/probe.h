#ifndef SEQMSED_PROBE_H
#define SEQMSED_PROBE_H

/* A look into a file by a short engine child: the daemon itself never parses what clients upload. The caller waits, at most the
 * time limit. Any thread that lives at least as long as the call. */

#include "core/base/buf.h"
#include "core/base/err.h"

#include <stdatomic.h>
#include <stdint.h>

struct call;

struct probe {
	int empty; /* the folder to run in */
	int64_t timeout_ms;
	const atomic_bool *stop; /* true: the daemon ends, give up (ERR_DRAINING); may be NULL */
};

/* Asks the ended call and appends the child's JSON answer. The child's own error comes back as it was sent; a child that died
 * or took too long gives an error with the code blame. One that was killed from outside is no word against the file: another one is asked, once. */
int probe_ask(const struct probe *p, const struct call *c, enum err_code blame, struct buf *answer, struct err *e);

#endif
