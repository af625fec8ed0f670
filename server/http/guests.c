#include "server/http/guests.h"

#include "server/base/clock.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct guest {
	int socket;
	atomic_int stage;
	atomic_llong since, bytes; /* when the stage began, and what it received */
	atomic_bool old;           /* it was answered before */

	/* The sweep's: */
	int64_t seen_since;      /* the stage that the rest is about */
	int64_t acked_at_start;  /* bytes that the client's system had acknowledged by then */
	int64_t acked, moved_at; /* and lately, and when that last changed */
	bool shut;
	struct guest *previous, *next;
};

struct guests {
	struct guests_limits l;
	pthread_mutex_t lock; /* guards the list and the counts */
	struct guest *first;
	int64_t open, shut;
};

struct guests *guests_new(const struct guests_limits *l)
{
	struct guests *g = calloc(1, sizeof *g);
	if (!g)
		return NULL;
	g->l = *l;
	pthread_mutex_init(&g->lock, NULL);
	return g;
}

void guests_free(struct guests *g)
{
	if (!g)
		return;
	pthread_mutex_destroy(&g->lock);
	free(g);
}

struct guest *guests_add(struct guests *g, int socket)
{
	struct guest *x = calloc(1, sizeof *x);
	if (!x)
		return NULL;
	x->socket = socket;
	guest_enter(x, GUEST_HEAD);
	pthread_mutex_lock(&g->lock);
	x->next = g->first;
	if (x->next)
		x->next->previous = x;
	g->first = x;
	g->open++;
	pthread_mutex_unlock(&g->lock);
	return x;
}

void guests_remove(struct guests *g, struct guest *x)
{
	if (!x)
		return;
	pthread_mutex_lock(&g->lock);
	if (x->previous)
		x->previous->next = x->next;
	else
		g->first = x->next;
	if (x->next)
		x->next->previous = x->previous;
	g->open--;
	pthread_mutex_unlock(&g->lock);
	free(x);
}

void guest_enter(struct guest *x, enum guest_stage s)
{
	if (!x)
		return;
	atomic_store(&x->bytes, 0);
	atomic_store(&x->since, clock_steady_ms());
	atomic_store(&x->stage, (int)s);
	if (s == GUEST_ANSWER)
		atomic_store(&x->old, true);
}

void guest_received(struct guest *x, int64_t bytes)
{
	if (x)
		atomic_fetch_add(&x->bytes, bytes);
}

/* What the peer's system has acknowledged so far; -1 where the socket does not count (a unix one: whoever opens it is trusted). */
static int64_t acknowledged(int socket)
{
	struct tcp_info info;
	socklen_t len = sizeof info;
	memset(&info, 0, sizeof info);
	if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -1;
	return (int64_t)info.tcpi_bytes_acked;
}

/* Whether so many bytes are too few for the time. */
static bool is_slow(const struct guests_limits *l, int64_t bytes, int64_t ms)
{
	int64_t counted = ms - l->slow_seconds * 1000;
	return counted > 0 && bytes < counted * l->min_bytes_per_second / 1000;
}

static bool is_late_to_read(const struct guests *g, struct guest *x, int64_t since, int64_t now)
{
	int64_t acked = acknowledged(x->socket);
	if (acked < 0)
		return false;
	if (x->seen_since != since) {
		x->seen_since = since;
		x->acked_at_start = x->acked = acked;
		x->moved_at = now;
	}
	if (acked != x->acked) {
		x->acked = acked;
		x->moved_at = now;
	}
	return now - x->moved_at > g->l.stall_seconds * 1000 || is_slow(&g->l, acked - x->acked_at_start, now - since);
}

static bool is_late(const struct guests *g, struct guest *x, int64_t now)
{
	int64_t since = atomic_load(&x->since), ms = now - since;
	switch ((enum guest_stage)atomic_load(&x->stage)) {
	case GUEST_HEAD:
		return ms > (g->l.header_seconds + (atomic_load(&x->old) ? g->l.idle_seconds : 0)) * 1000;
	case GUEST_BODY:
		return is_slow(&g->l, atomic_load(&x->bytes), ms);
	case GUEST_ANSWER:
		return is_late_to_read(g, x, since, now);
	case GUEST_WAIT:
		break;
	}
	return false;
}

void guests_sweep(struct guests *g, int64_t now)
{
	pthread_mutex_lock(&g->lock);
	for (struct guest *x = g->first; x; x = x->next) {
		if (x->shut || !is_late(g, x, now))
			continue;
		x->shut = true;
		g->shut++;
		(void)shutdown(x->socket, SHUT_RDWR);
	}
	pthread_mutex_unlock(&g->lock);
}

void guests_count(struct guests *g, int64_t *open, int64_t *shut)
{
	pthread_mutex_lock(&g->lock);
	*open = g->open;
	*shut = g->shut;
	pthread_mutex_unlock(&g->lock);
}
