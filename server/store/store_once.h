#ifndef SEQMSED_STORE_ONCE_H
#define SEQMSED_STORE_ONCE_H

/* Idempotency keys: an owner's key, the request that it came with, and the object that this made or changed. A key is committed in the
 * transaction of its object, and kept for a day. Any thread.
 *
 * Both that look a key up set o->replayed, and o->existing as it was kept; id is "" where the key is new, or there is none (o may be NULL).
 * ERR_REUSE: it came with another request; ERR_GONE: what it made was deleted. */

#include "api/backend.h"

struct store;
struct db;

int store_once_made(struct store *s, const char *owner, struct api_once *o, char id[API_ID + 1], struct err *e);
/* The same inside a transaction. */
int store_once_find(struct db *d, const char *owner, struct api_once *o, char id[API_ID + 1], struct err *e);
/* Inside a transaction: notes what the key was used for, with o->existing, and forgets keys that are too old. */
int store_once_keep(struct db *d, const char *owner, const struct api_once *o, const char *id, struct err *e);
/* Inside a transaction: the object did not come into being after all, so that the request may be repeated. */
int store_once_drop(struct db *d, const char *id, struct err *e);

#endif
