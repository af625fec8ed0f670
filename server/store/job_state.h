#ifndef SEQMSED_JOB_STATE_H
#define SEQMSED_JOB_STATE_H

/* A job's states, and what moves it:
 *
 *     queued ──claim──► running ──succeed──► succeeded ◄──reuse── queued (an equal job's results)
 *      ▲ ▲ │              │ │ │ └──fail────► failed
 *      │ │ ├──cancel──┐   │ │ └───cancel───► canceling ──stop──► canceled
 *      │ │ │          ▼   │ │                (claim, succeed, fail, requeue are refused there: the result of a canceled job is
 *      │ │ │    canceled  │ │                never kept)
 *      │ └─│───requeue────┘ └─pause─► pausing ──stop, requeue──► paused   (a pausing job may still succeed, fail, or be canceled)
 *      │   └─────pause──────────────────────────────────────────► paused ──cancel──► canceled
 *      └───────────────────────────resume──────────────────────────┘
 *
 * running ──claim──► running: the lease ran out, another worker takes it over.
 */

#include "core/base/err.h"

#include <stdbool.h>

enum job_status { JOB_QUEUED, JOB_RUNNING, JOB_PAUSING, JOB_PAUSED, JOB_CANCELING, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELED };
enum job_event { JOB_CLAIM, JOB_REQUEUE, JOB_SUCCEED, JOB_FAIL, JOB_CANCEL, JOB_STOP, JOB_PAUSE, JOB_RESUME, JOB_REUSE };

/* Where the event leads from that status; ERR_BAD_STATE when it leads nowhere. */
int job_next(enum job_status from, enum job_event event, enum job_status *to, struct err *e);

const char *job_status_name(enum job_status s); /* "queued" */
int job_status_parse(const char *name, enum job_status *s);
bool job_status_is_final(enum job_status s);

#endif
