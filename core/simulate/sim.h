#ifndef SEQMSE_SIM_H
#define SEQMSE_SIM_H

/* A simulation: a model's quantizers (quantsim.h) with grids, and the model run with them.
 *
 *     struct sim *s = sim_new(qs, &e);
 *     sim_set_grids(s, q, grids, true, &e);                    … searched weights, frozen …
 *     calibrate(s, …);                                         … all others (calibrate.h) …
 *     struct sim_run *r = sim_run_new(s, ort, SIM_QUANTIZED, false, NULL, NULL, &e);
 *     sim_run_batch(r, calib, batch, out, &e); sim_run_done(r, out);
 *     sim_run_free(r); sim_free(s);
 *
 * Quantizers are named by their index in qs->quantizers. Tied ones have one set of grids, whichever of them is named. A parameter's grids are
 * [channels][blocks], each axis in the tensor's order, 1 where the granularity has no such axis.
 *
 * LPBQ: the grids that are set are those before their scales are compressed, as the search finds them; the simulation, like every export, uses the
 * compressed ones. (The reference simulates the former after a search and exports the latter; to see its reading, set the quantizer's granularity to
 * QUANT_PER_BLOCK.)
 */

#include "core/encodings/encodings.h"
#include "core/quantsim/quantsim.h"
#include "core/run/forward.h"

struct sim;

/* No quantizer has grids yet. qs must outlive it; quantizers that calibrate() leaves off are disabled in qs. */
struct sim *sim_new(struct quantsim *qs, struct err *e);
struct sim *sim_copy(const struct sim *s, struct err *e);
void sim_free(struct sim *s);
struct quantsim *sim_quantsim(const struct sim *s);

/* How many grids the quantizer has, and how many of them lie along the block axis. */
size_t sim_grid_count(const struct quantsim *qs, int q);
size_t sim_blocks(const struct quantsim *qs, int q);

/* Sets sim_grid_count() grids, copied. Frozen ones are nobody's to change but this function's. */
int sim_set_grids(struct sim *s, int q, const struct quant_grid *grids, bool frozen, struct err *e);
const struct quant_grid *sim_grids(const struct sim *s, int q); /* NULL: none yet */
bool sim_frozen(const struct sim *s, int q);

/* Whether the quantizer does anything: enabled, and its grids are known or it needs none. */
bool sim_is_active(const struct sim *s, int q);

/* Calls f for every run of numbers of a parameter that share a grid: the n numbers from `at` on, in the tensor's order, belong to grid `grid`. */
typedef int sim_span_fn(void *ctx, size_t grid, size_t at, size_t n, struct err *e);
int sim_each_span(const struct quantsim *qs, int q, sim_span_fn *f, void *ctx, struct err *e);

/* The parameter's numbers, quantized if its quantizer is active; malloc'ed. NULL on error. */
float *sim_parameter(const struct sim *s, int q, struct err *e);

/* Appends every active quantizer, in the order of qs->quantizers, which is the reference's, and fills in the rest; quant_scheme is "min_max" or what the
 * activations' scheme is called in files. *out is zeroed before; free it with encodings_fini(), also after an error. */
int sim_encodings(const struct sim *s, const char *quant_scheme, struct encodings *out, struct err *e);

/* ---- running ---- */

enum sim_mode {
	SIM_FLOAT,          /* the model as it is */
	SIM_WEIGHTS,        /* parameters quantized */
	SIM_OBSERVED,       /* the same, and every activation quantizer's tensor is shown to observe(), */
	SIM_OBSERVED_WHOLE, /* a batch of it at once, where SIM_OBSERVED may show it slice by slice (slices.h) */
	SIM_QUANTIZED,      /* parameters and activations quantized */
};

struct sim_run;

/* Called for an enabled integer quantizer's tensor, once a batch or slice, in the order of execution; t is valid during the call. */
typedef int sim_observe_fn(void *ctx, int q, const struct ort_tensor *t, struct err *e);

/* plain: without the runtime's graph optimizations; then the results are the reference's bit for bit. Takes the grids of this moment; s stays readable. */
struct sim_run *sim_run_new(const struct sim *s, struct ort *ort, enum sim_mode mode, bool plain, sim_observe_fn *observe,
                            void *ctx, struct err *e);
void sim_run_free(struct sim_run *r);
/* As forward_run() and forward_done(). */
int sim_run_batch(struct sim_run *r, struct calib *c, int64_t batch, struct ort_value **out, struct err *e);
void sim_run_done(struct sim_run *r, struct ort_value **out);

#endif
