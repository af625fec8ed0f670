#include "server/store/job_state.h"

#include <stddef.h>
#include <string.h>

static const char *const names[] = {"queued", "running", "pausing", "paused", "canceling", "succeeded", "failed", "canceled"};
static const char *const events[] = {"claimed", "queued again", "succeeded", "failed", "canceled",
                                     "stopped", "paused",       "resumed",   "reused"};

static const struct {
	enum job_status from;
	enum job_event event;
	enum job_status to;
} table[] = {
	{JOB_QUEUED, JOB_CLAIM, JOB_RUNNING},      {JOB_QUEUED, JOB_CANCEL, JOB_CANCELED},
	{JOB_RUNNING, JOB_CLAIM, JOB_RUNNING},     {JOB_RUNNING, JOB_REQUEUE, JOB_QUEUED},
	{JOB_RUNNING, JOB_SUCCEED, JOB_SUCCEEDED}, {JOB_RUNNING, JOB_FAIL, JOB_FAILED},
	{JOB_RUNNING, JOB_CANCEL, JOB_CANCELING},  {JOB_CANCELING, JOB_STOP, JOB_CANCELED},
	{JOB_QUEUED, JOB_REUSE, JOB_SUCCEEDED},    {JOB_QUEUED, JOB_PAUSE, JOB_PAUSED},
	{JOB_RUNNING, JOB_PAUSE, JOB_PAUSING},     {JOB_PAUSED, JOB_RESUME, JOB_QUEUED},
	{JOB_PAUSING, JOB_STOP, JOB_PAUSED},       {JOB_PAUSING, JOB_REQUEUE, JOB_PAUSED},
	{JOB_PAUSING, JOB_SUCCEED, JOB_SUCCEEDED}, {JOB_PAUSING, JOB_FAIL, JOB_FAILED},
	{JOB_PAUSING, JOB_CANCEL, JOB_CANCELING},  {JOB_PAUSED, JOB_CANCEL, JOB_CANCELED},
};

int job_next(enum job_status from, enum job_event event, enum job_status *to, struct err *e)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (table[i].from != from || table[i].event != event)
			continue;
		*to = table[i].to;
		return 0;
	}
	return err_set(e, ERR_BAD_STATE, "a %s job cannot be %s", names[from], events[event]);
}

const char *job_status_name(enum job_status s)
{
	return names[s];
}

int job_status_parse(const char *name, enum job_status *s)
{
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(names[i], name) != 0)
			continue;
		*s = (enum job_status)i;
		return 0;
	}
	return -1;
}

bool job_status_is_final(enum job_status s)
{
	return s >= JOB_SUCCEEDED;
}
