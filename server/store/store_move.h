#ifndef SEQMSED_STORE_MOVE_H
#define SEQMSED_STORE_MOVE_H

/* The one place where a job changes its state. Everything here runs inside a transaction of the writing connection. */

#include "core/base/err.h"
#include "server/store/job_state.h"

#include <stdint.h>

struct db;

enum { STORE_ANY_ATTEMPT = -1 };

/* ERR_NOT_FOUND when there is no such job. A reading connection will do, too. */
int store_status(struct db *d, const char *id, enum job_status *status, struct err *e);

/* Moves the job by the table of job_state.h, sets the times that go with the new state, and notes the event. attempt is the
 * token of the worker that asks; a job that has another one by now is ERR_BAD_STATE. */
int store_move(struct db *d, const char *id, int64_t attempt, enum job_event event, enum job_status *to, struct err *e);

/* Appends to the job's events; data is a JSON object. */
int store_event_add(struct db *d, const char *id, const char *event, const char *data, struct err *e);

#endif
