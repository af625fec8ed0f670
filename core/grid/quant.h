#ifndef SEQMSE_QUANT_H
#define SEQMSE_QUANT_H

/* Quantization grids: a real number is delta * (q + offset) for an integer q in 0 .. 2^bw - 1. offset is an integer <= 0, kept
 * in a double; min = delta * offset and max = delta * (offset + 2^bw - 1) are the ends of the grid.
 *
 * These are the field's min-max ("tf") encodings. The arithmetic follows the reference digit by digit, so that encodings can be
 * compared as doubles; what is float and what is double is part of the contract.
 */

#include <stdbool.h>
#include <stddef.h>

enum { QUANT_MIN_BW = 2, QUANT_MAX_BW = 16 };

struct quant_mode {
	int bw;
	bool symmetric;
	bool strict_symmetric;   /* one level less, so that the grid is symmetric about 0 */
	bool unsigned_symmetric; /* symmetric data that is never negative uses the grid 0 .. n */
};

/* How many grids a tensor has: one; one for each index of its channel axis; one for each channel and each run of block_size indices
 * of its block axis; the same, each block's step being an integer of few bits times its channel's ("LPBQ"). */
enum quant_granularity { QUANT_PER_TENSOR, QUANT_PER_CHANNEL, QUANT_PER_BLOCK, QUANT_LPBQ };
const char *quant_granularity_name(enum quant_granularity g);  /* "per_channel", "block", … */
enum quant_granularity quant_granularity_of(const char *name); /* per channel where it is none (or NULL) */

struct quant_grid {
	double min, max, delta, offset;
};

/* The grid for data whose float32 minimum and maximum are lo and hi (widened to contain 0, clamped to 0.99 FLT_MAX).
 * With n = 2^bw - 1 (one less when strict) and eps = min(2^-23, 0.01 / n):
 *   signed symmetric: p = floor(n/2), q = n - p:  delta = max(hi / p, -lo / q, eps), offset = -q   (for n = 3, p + 1 stands for p)
 *   else:             delta = max((hi - lo) / n, eps), offset = round(lo / delta), half away from zero, clamped to -n .. 0 */
struct quant_grid quant_minmax(float lo, float hi, struct quant_mode mode);

/* Candidate i (0 .. count-1) of a search that shrinks start's range in equal steps: both ends, as float32, times (i+1)/count, the division first,
 * and then a grid of their own by quant_minmax(). The last one is start's range again, but not always start's last digit. */
struct quant_grid quant_candidate(struct quant_grid start, int i, int count, struct quant_mode mode);

/* The grid of a quantizer whose range is given from outside (a sigmoid's 0 .. 1), widened to contain 0 and to be 0.01 wide. Unlike
 * quant_minmax() it knows no unsigned symmetric grids, and rounds the offset half to even. With n = 2^bw - 1 and p = 2^(bw-1) - 1:
 *   symmetric: delta = max(hi / p, -lo / (p + 1)), offset = -(p + 1), or -p when strict
 *   else:      delta = (hi - lo) / n, offset = lo / delta */
struct quant_grid quant_constrained(double lo, double hi, struct quant_mode mode);

/* Quantizes and dequantizes n floats: x clamped to min..max, q = round(x / delta - offset), half away from zero, delta * (q + offset); all in
 * float32, as the reference's simulation does. NaN becomes min. out may be in. quant_fake_plain() is the same without SIMD. */
void quant_fake(struct quant_grid grid, size_t n, const float *in, float *out);
void quant_fake_plain(struct quant_grid grid, size_t n, const float *in, float *out);

#endif
