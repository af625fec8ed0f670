#ifndef SEQMSED_LOG_H
#define SEQMSED_LOG_H

/* The daemon's log: one JSON object a line on standard error, written with one write() so that lines of threads do not mix.
 *
 *     log_line(LOG_INFO, "job finished", "job", LOG_STR, id, "seconds", LOG_REAL, 1.5);
 *
 * After the message come triples of name, kind and value. Any thread. */

#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_kind { LOG_STR, LOG_INT, LOG_REAL }; /* const char *, int64_t, double */

void log_set_level(enum log_level least);
/* "debug", "info", "warn", "error"; -1 for another text. */
int log_level_parse(const char *text);
#define log_line(level, ...) log_write(level, __VA_ARGS__, (const char *)NULL)
void log_write(enum log_level level, const char *message, ...) __attribute__((sentinel));

#endif
