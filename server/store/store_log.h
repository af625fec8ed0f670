#ifndef SEQMSED_STORE_LOG_H
#define SEQMSED_STORE_LOG_H

/* What is told of a job's course, for people: a numbered line for every state, attempt, layer and warning, and what its engine said
 * on standard error. Goes with the job. */

#include "api/backend.h"

struct store;
struct db;

/* "info", "warning" or "error". */
#define STORE_INFO    "info"
#define STORE_WARNING "warning"
#define STORE_ERROR   "error"

/* Appends a line; inside a transaction of the writing connection. Of one job 10,000 lines are kept, the rest is left out. */
int store_log_add(struct db *d, const char *job, const char *level, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* Lines with a number above `after`, oldest first, at most limit. Any thread. */
int store_log_list(struct store *s, const struct api_caller *who, const char *job, int64_t after, int64_t limit,
                   struct api_log **out, size_t *n, struct err *e);

#endif
