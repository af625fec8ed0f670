#include "server/http/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct watch {
	pthread_mutex_t lock; /* guards all below */
	struct watch_entry *first;
	uint64_t generation;
	bool closed;
};

struct watch *watch_new(void)
{
	struct watch *w = calloc(1, sizeof *w);
	if (w)
		pthread_mutex_init(&w->lock, NULL);
	return w;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	pthread_mutex_destroy(&w->lock);
	free(w);
}

uint64_t watch_generation(struct watch *w)
{
	pthread_mutex_lock(&w->lock);
	uint64_t g = w->generation;
	pthread_mutex_unlock(&w->lock);
	return g;
}

bool watch_add(struct watch *w, struct watch_entry *entry, uint64_t generation)
{
	pthread_mutex_lock(&w->lock);
	bool ok = !w->closed && w->generation == generation;
	if (ok) {
		entry->next = w->first;
		w->first = entry;
	}
	pthread_mutex_unlock(&w->lock);
	return ok;
}

/* Moves entries for the job (NULL: for any) with a deadline up to now, or of them those that wait for news, into a list of their own.
 * Under the lock. */
static struct watch_entry *pick(struct watch *w, const char *job, int64_t now, bool news)
{
	struct watch_entry *picked = NULL;
	for (struct watch_entry **at = &w->first; *at;) {
		struct watch_entry *x = *at;
		if ((job && strcmp(x->job, job) != 0) || x->deadline > now || (news && !x->news)) {
			at = &x->next;
			continue;
		}
		*at = x->next;
		x->next = picked;
		picked = x;
	}
	return picked;
}

static void resume_all(struct watch_entry *list)
{
	while (list) {
		struct watch_entry *next = list->next; /* resuming gives the entry's memory back */
		list->resume(list->arg);
		list = next;
	}
}

void watch_wake(struct watch *w, const char *job)
{
	pthread_mutex_lock(&w->lock);
	w->generation++;
	struct watch_entry *list = pick(w, job, INT64_MAX, false);
	pthread_mutex_unlock(&w->lock);
	resume_all(list);
}

void watch_news(struct watch *w, const char *job)
{
	pthread_mutex_lock(&w->lock);
	w->generation++;
	struct watch_entry *list = pick(w, job, INT64_MAX, true);
	pthread_mutex_unlock(&w->lock);
	resume_all(list);
}

void watch_expire(struct watch *w, int64_t now)
{
	pthread_mutex_lock(&w->lock);
	struct watch_entry *list = pick(w, NULL, now, false);
	pthread_mutex_unlock(&w->lock);
	resume_all(list);
}

void watch_close(struct watch *w)
{
	pthread_mutex_lock(&w->lock);
	w->closed = true;
	struct watch_entry *list = pick(w, NULL, INT64_MAX, false);
	pthread_mutex_unlock(&w->lock);
	resume_all(list);
}
