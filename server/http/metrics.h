#ifndef SEQMSED_METRICS_H
#define SEQMSED_METRICS_H

/* Counts of what the daemon does, for Prometheus (its text format, https://prometheus.io/docs/instrumenting/exposition_formats/). Counting
 * takes no lock. Any thread. */

#include "api/routes.h"

struct metrics;

struct metrics *metrics_new(void); /* NULL without memory */
void metrics_free(struct metrics *m);

/* A request ended. route NULL: it had none. */
void metrics_request(struct metrics *m, const struct route *route, int status, int64_t ms, int64_t received);
/* An attempt at a job ended: "succeeded", "failed", "died", … */
void metrics_attempt(struct metrics *m, const char *outcome, double seconds);

/* Appends what was counted here. */
void metrics_write(const struct metrics *m, struct buf *out);
/* Appends one value of somebody else's: its name without "seqmsed_", "gauge" or "counter", labels as in `{status="queued"}` or "". A name's
 * first value has a help text; the further ones have NULL. */
void metrics_value(struct buf *out, const char *name, const char *type, const char *help, const char *labels, double value);

#endif
