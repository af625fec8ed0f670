#ifndef SEQMSED_WATCH_H
#define SEQMSED_WATCH_H

/* Requests that wait for a job to end (long poll), or to get further (live events). Each waits at most until its deadline and is then resumed exactly once,
 * without any lock held. Any thread.
 *
 * A change between looking at the job and beginning to wait would be missed; so the caller takes the generation before it looks,
 * and watch_add() refuses when it has moved on since. */

#include <stdbool.h>
#include <stdint.h>

struct watch;

/* The waiting request's memory; its own until watch_add() took it, and again when resume() is called. */
struct watch_entry {
	char job[40];
	bool news;        /* resumed also when the job only got further */
	int64_t deadline; /* monotonic milliseconds */
	void (*resume)(void *arg);
	void *arg;
	struct watch_entry *next; /* the watch's */
};

struct watch *watch_new(void); /* NULL without memory */
void watch_free(struct watch *w);

uint64_t watch_generation(struct watch *w);
/* False: something changed since generation, or the daemon ends; look again instead. */
bool watch_add(struct watch *w, struct watch_entry *entry, uint64_t generation);
void watch_wake(struct watch *w, const char *job); /* the job changed its state */
void watch_news(struct watch *w, const char *job); /* it got further, and goes on */
void watch_expire(struct watch *w, int64_t now);   /* resumes what is over its deadline */
void watch_close(struct watch *w);                 /* resumes all; from now on nothing waits */

#endif
