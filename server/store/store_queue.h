#ifndef SEQMSED_STORE_QUEUE_H
#define SEQMSED_STORE_QUEUE_H

/* The queue: the order in which waiting jobs are served. Owners take turns, and each owner's jobs go by priority, then age.
 *
 * An owner's waiting jobs are numbered 1, 2, … in their order: a job's turn. First come all owners' first turns, then all second
 * ones, and so on; of equal turns, first that of the owner who was served the longest time ago (table `turns`; never: 0), and of those
 * served at the same time the one whose name sorts first. So what stands before turn k of an owner is the first k - 1 jobs of
 * everybody, and turn k of the owners who come before. So a place is counted from two things, without sorting: how many jobs each
 * owner has waiting, and the turn. Both come from the index jobs_queue, in which every owner's jobs lie in their order: the turn of one
 * job by counting those before it, the turns of many in one pass.
 *
 * The callers' connection has to show one moment for as long as they compare places with jobs: inside store_begin() or store_view().
 */

#include "api/backend.h"

#include <stdbool.h>

struct db;

/* Sets queue_position: its place, from 1, where the job waits, otherwise 0. */
int store_queue_place(struct db *d, struct api_job *job, struct err *e);
/* The same for many. */
int store_queue_places(struct db *d, struct api_job *jobs, size_t n, struct err *e);

/* Counts those that wait, and adds the first max that the caller sees, in their order, to out->jobs, which has room for them. */
int store_queue_first(struct db *d, const struct api_caller *who, size_t max, struct api_queue *out, struct err *e);

/* The very first one is served: that is its owner's turn. *found is false when nobody waits. Inside store_begin(). */
int store_queue_serve(struct db *d, char id[API_ID + 1], bool *found, struct err *e);

#endif
