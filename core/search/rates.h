#ifndef SEQMSE_RATES_H
#define SEQMSE_RATES_H

/* How fast this machine does what a search is made of: its kernels' multiply-adds a second, and bytes copied a second, each at a few sizes. They are
 * measured once, with the engine's own kernels on made-up numbers (trial.h), and kept in a file; another machine, program, library or number of threads has
 * rates of its own. Nothing but estimates and the choice between ways with the same answer depends on them.
 */

#include "core/base/err.h"
#include "core/base/json.h"

#include <stdbool.h>

/* The first ones are the ways of gram.h, in their order. The size that a rate belongs to is the layer's fan-in; of LAGS, its channels. */
enum rates_kind {
	RATES_LAGS,
	RATES_LAGS_SINGLE,
	RATES_SHIFTED,
	RATES_VECTORS,
	RATES_PANELS,
	RATES_LARGE,
	RATES_ASK,    /* candidates out of a Gram matrix: fan_in^2 / 2 multiply-adds each */
	RATES_DIRECT, /* candidates out of the inputs: fan_in for each position */
	RATES_L1,     /* the same, with sums of |e| */
	RATES_CHANGE, /* numbers of changes that are made and weighed: fan_in for each candidate */
	RATES_COPY,   /* bytes that are read and written */
};

enum { RATES = 24, RATES_SETS = 8 };

struct rates {
	double of[RATES]; /* in the order of rates.c's table */
};

/* Those of some machine, one thread: for whoever has not measured. */
extern const struct rates rates_typical;

/* The rate of a kind at a size, between its measured neighbours. */
double rates_at(const struct rates *r, enum rates_kind kind, double size);

/* Runs each kernel a few times with that many threads and keeps the best, in processor time: well below a second. */
int rates_measure(int threads, struct rates *r, struct err *e);

/* A set: {"machine", "threads", "rates": […]}; machine is machine_id()'s text. */
void rates_to_json(const struct rates *r, const char *machine, int threads, struct json_out *w, const char *key);

/* What is kept is an array of sets, the latest first, one for each machine and number of threads. Reading says false where there is none for these. */
bool rates_from_json(const struct json *kept, const char *machine, int threads, struct rates *r);

/* Writes what is to be kept once there is this set, too: it is put in front, a former one for the same goes, as do the last of more than RATES_SETS. */
void rates_keep(const struct json *kept, const struct json *set, struct json_out *w);

/* From the file, or else measured and kept in it: one that is missing or damaged is made anew, and one that cannot be written
 * is left out. path may be NULL: always measured. Loads the libraries. */
int rates_get(const char *path, int threads, struct rates *r, struct err *e);

/* $XDG_CACHE_HOME/seqmsed/rates.json, or in ~/.cache; false where there is neither. */
bool rates_path(char out[4096]);

#endif
