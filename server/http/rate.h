#ifndef SEQMSED_RATE_H
#define SEQMSED_RATE_H

/* How many requests an owner may send: a bucket each, which fills at an even pace and never holds more than a minute's worth. Any
 * thread. */

#include <stdbool.h>
#include <stdint.h>

struct rate;

struct rate *rate_new(int64_t per_minute); /* NULL without memory */
void rate_free(struct rate *r);

/* Takes one request out of the owner's bucket. False: it is empty. *left is what is in it then, *seconds how long until there is one
 * more (when it is empty) or until it is full. now is monotonic, in milliseconds. */
bool rate_take(struct rate *r, const char *owner, int64_t now, int64_t *left, int64_t *seconds);

#endif
