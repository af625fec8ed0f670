#ifndef SEQMSE_CALIBRATE_H
#define SEQMSE_CALIBRATE_H

/* Grids for every quantizer that has none yet, or none that is frozen: what the reference calls compute_encodings.
 *
 * Parameters first, from their own numbers. Then the model runs over the data, batch by batch, with quantized parameters and unquantized
 * activations; every enabled activation quantizer sees its tensor once a batch (or, of the scheme tf, slice by slice), tied ones all of theirs, and gets the grid that its scheme makes of
 * it, or the one that its constraint asks for. In the end the scales of parameters that are not frozen are rounded to float32 and, where an int32 bias or
 * accumulator would overflow, raised (overflow.h).
 *
 * Nothing grows with the number of batches. A quantizer whose tensor never had a number (an empty tensor, a branch that is never taken) stays without grid.
 */

#include "core/grid/observer.h"
#include "core/simulate/sim.h"

/* Masks in attention are often made with huge constants (-10000, -FLT_MAX) that are added to ordinary numbers. A grid that reaches that far has no step left
 * for the ordinary ones. A range is called degenerate when values of at least DEGENERATE_FROM were seen and every smaller one, of which not all are 0, is
 * below half a step, so that it would become 0. */
#define DEGENERATE_FROM 1e4f

enum degenerate_ranges {
	DEGENERATE_REFERENCE, /* keep the grid, as the reference does */
	DEGENERATE_OFF,       /* disable the quantizer, and those tied to it */
	DEGENERATE_CLAMP, /* the range of the ordinary values, and as much again on the side of the huge ones, so that what is masked stays apart */
};

struct calibrate_settings {
	enum quant_scheme scheme, param_scheme;
	double percentile; /* of SCHEME_PERCENTILE, 0 .. 100 */
	enum degenerate_ranges degenerate;
	bool plain; /* without graph optimizations */
};

/* Whether activations are shown slice by slice (slices.h): smallest and largest values are the same whatever they come in, histograms are not. */
bool calibrate_in_slices(const struct calibrate_settings *s);

/* Any may be NULL. code is "degenerate-range", "overflow-frozen" or "no-data"; tensor is what it is about. */
struct calibrate_hooks {
	void *ctx;
	void (*progress)(void *ctx, int64_t batch, int64_t batches);
	void (*warning)(void *ctx, const char *code, const char *tensor, const char *detail);
	bool (*canceled)(void *ctx);
};

/* data has the model's inputs, in its order. After an error the grids are not to be used. */
int calibrate(struct sim *s, struct ort *ort, struct calib *data, const struct calibrate_settings *settings,
              const struct calibrate_hooks *hooks, struct err *e);

#endif
