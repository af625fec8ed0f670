#ifndef SEQMSED_GUESTS_H
#define SEQMSED_GUESTS_H

/* All open connections, and how long each may take for what it is about. The HTTP library closes a connection that is silent; one that
 * sends or reads a byte now and then stays for ever. So every stage has an end of its own here: a sweep shuts the sockets of those that are
 * late, and the library finds them closed.
 *
 *     head    until the headers are complete: header_seconds from the first connection on, and idle_seconds more after an answer
 *     body    after slow_seconds at least min_bytes_per_second on the whole
 *     answer  the same for what the client's system has acknowledged; never stall_seconds without any progress
 *     wait    no limit: we are at work, or the answer is a stream of events, which ends by itself or at its first failed heartbeat
 *
 * Any thread; a guest belongs to its connection's thread, but for guests_sweep().
 */

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum guest_stage { GUEST_HEAD, GUEST_BODY, GUEST_WAIT, GUEST_ANSWER };

struct guests_limits {
	int64_t header_seconds, idle_seconds, slow_seconds, stall_seconds, min_bytes_per_second;
};

struct guests;
struct guest;

struct guests *guests_new(const struct guests_limits *l); /* NULL without memory */
void guests_free(struct guests *g);

/* A connection came; the socket stays the library's. NULL without memory: it is not watched. */
struct guest *guests_add(struct guests *g, int socket);
/* It goes; before its socket is closed, so that a sweep never shuts another one. Accepts NULL. */
void guests_remove(struct guests *g, struct guest *x);

void guest_enter(struct guest *x, enum guest_stage s); /* accepts NULL, as the next one */
void guest_received(struct guest *x, int64_t bytes);

/* Shuts the sockets of those that are late. now is monotonic, in milliseconds. From one thread, about once a second. */
void guests_sweep(struct guests *g, int64_t now);

/* How many there are, and how many were shut so far. */
void guests_count(struct guests *g, int64_t *open, int64_t *shut);

#endif
