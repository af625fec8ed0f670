#ifndef SEQMSE_ACTIVATIONS_H
#define SEQMSE_ACTIVATIONS_H

/* The tensors that live between two stages, one for each batch: kept in memory up to a budget (which leaves room for the batch in work), beyond it in a file, whose space is given back as values are dropped; the
 * next batch of what is read is fetched ahead. Tensors of strings and sequences always stay in memory. */

#include "core/base/err.h"
#include "core/run/ort.h"

#include <stdbool.h>
#include <stdint.h>

/* So many of the largest tensors are left room for. */
enum { ACTIVATIONS_SPARE = 3 };

struct activations;

struct activations *activations_new(struct ort *o, int values, int64_t batches, int64_t budget_bytes, struct err *e);
void activations_free(struct activations *a);

/* An unlinked file in $TMPDIR or /var/tmp; where no other is given, it is opened when it is needed. */
int activations_spill_file(struct err *e);
/* Before the first value: where to get another one from. */
void activations_spill_to(struct activations *a, int (*open)(void *ctx, struct err *e), void *ctx);

/* Before the first value: this one never stays in memory. */
void activations_cold(struct activations *a, int value);

/* Takes v over, also when it fails. A value is put once a batch. */
int activations_put_take(struct activations *a, int value, int64_t batch, struct ort_value *v, struct err *e);

/* Takes v over if it fits into the memory that is left, and says so; for values that can be had again. */
bool activations_offer(struct activations *a, int value, int64_t batch, struct ort_value *v);

/* Whether the value of that batch is here. */
bool activations_has(const struct activations *a, int value, int64_t batch);

/* A value as it was put; give it back with activations_done() before it is dropped. NULL on error. */
struct ort_value *activations_get(struct activations *a, int value, int64_t batch, struct err *e);
void activations_done(struct activations *a, int value, int64_t batch, struct ort_value *v);

/* What the value of that batch is. */
void activations_info(const struct activations *a, int value, int64_t batch, struct ort_info *info);

void activations_drop(struct activations *a, int value);
void activations_drop_batch(struct activations *a, int value, int64_t batch);

int64_t activations_largest(const struct activations *a); /* bytes of the largest tensor so far */
int64_t activations_taken(const struct activations *a);   /* bytes that were put so far */
int64_t activations_held(const struct activations *a);    /* bytes in memory */
int64_t activations_spilled(const struct activations *a); /* bytes written to the file so far */

#endif
