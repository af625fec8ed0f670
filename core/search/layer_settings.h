#ifndef SEQMSE_LAYER_SETTINGS_H
#define SEQMSE_LAYER_SETTINGS_H

/* How one layer is quantized and searched: the job's settings, changed by those of its overrides that match the layer. */

#include "core/base/err.h"
#include "core/grid/quant.h"
#include "core/search/loss.h"

#include <stdbool.h>
#include <stdint.h>

/* LPBQ's integers have as many bits as a weight, and are stored in a byte. */
enum { SETTINGS_LPBQ_MAX_BW = 8 };

struct json;
struct layer;
struct onnx_model;
struct params;
struct quantsim;

/* Which of the num_candidates ranges are tried. Each kind also tries the full range, so that no choice has a larger loss than that.
 *   grid:           all of them
 *   coarse_to_fine: every s-th, then all around the best of these; with s = sqrt(candidates / 2) that is 2 sqrt(2 candidates) in all. Losses as
 *                   functions of the range are not smooth, so this may miss the least one.
 *   off:            only the full range, and without asking what it does to the output */
enum search_kind { SEARCH_GRID, SEARCH_COARSE_TO_FINE, SEARCH_OFF };

/* What happens where the chosen grids, as they are exported and taken together, have a larger loss than the full ranges. */
enum search_guard { GUARD_OFF, GUARD_WARN, GUARD_FALLBACK };

/* Which range a channel gets whose losses are all 0, because its input always is: the smallest, which wins all ties, or the full one. */
enum search_dead { DEAD_REFERENCE, DEAD_FULL_RANGE };

struct layer_settings {
	struct quant_mode mode;
	enum quant_granularity granularity;
	int64_t block_size; /* input channels a block; 0 where grids are not per block */
	enum loss_fn loss;
	int num_candidates;
	int first_candidate; /* the smallest that is tried */
	enum search_kind search;
	enum search_guard guard;
	enum search_dead dead;
	const char *
		refused; /* why there are no blocks although they were asked for; NULL where nobody asked or their size just does not divide */
};

/* Contradictions that can be seen without a model: block without block_size, and the like. The message begins with the JSON pointer of the setting that is
 * to blame ("/block_size: …"). */
int layer_settings_check(const struct params *p, struct err *e);

/* Fills settings and blocks of every layer. An override that matches no layer, and a block_size that fits no layer it is meant for, are
 * ERR_BAD_PARAM with the pointer. Where params do not say how a weight is quantized, qs does; without it (NULL), weights are symmetric
 * with a grid a channel. */
int layer_settings_resolve(const struct onnx_model *m, const struct quantsim *qs, const struct params *p, struct layer *layers,
                           int n, struct err *e);

/* Gives the weights' quantizers the modes and granularities that the layers got; of layers that share a weight, the owner's. */
void layer_settings_tell(struct quantsim *qs, const struct layer *layers, int n);

/* What the setting `overrides` has to be: a list of objects, each with "match" and some of the settings that may differ between layers. For the
 * table in params.c. */
int layer_settings_check_overrides(const struct json *v, struct err *e);

#endif
