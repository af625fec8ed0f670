#ifndef SEQMSED_CREW_H
#define SEQMSED_CREW_H

/* Threads for requests that wait: for a disk, for the database's writer, for an inspection. The HTTP threads hand such
 * requests over and go on with other connections. Any thread. */

#include "core/base/err.h"

#include <stdbool.h>

struct crew;

struct crew *crew_start(int threads, struct err *e);
/* Runs fn(arg) on one of the threads, in the order of arrival. The node is the caller's memory and stays its until fn runs. */
struct crew_task {
	void (*fn)(void *arg);
	void *arg;
	struct crew_task *next; /* the crew's */
};
bool crew_submit(struct crew *c, struct crew_task *t); /* false: the crew has stopped, fn will not run */
/* Finishes what was handed over and ends the threads; from then on nothing is taken. */
void crew_stop(struct crew *c);
void crew_free(struct crew *c);

#endif
