#ifndef SEQMSE_HISTOGRAM_H
#define SEQMSE_HISTOGRAM_H

/* How a tensor's values are distributed, gathered batch by batch in 1536 bins, and the range that percentiles of it give.
 *
 * The first batch decides where the bins lie: three times its range about its middle. One edge is always 0. Values of later batches that fall outside are
 * not counted, and every batch weighs the same, whatever its size: the reference does so, and its encodings are matched bit for bit.
 */

#include <stddef.h>

enum { HISTOGRAM_BINS = 1536 };

struct histogram {
	double width;               /* of a bin */
	double first;               /* bin i begins at (first + i) * width; an integer */
	double batches;             /* added so far */
	double pdf[HISTOGRAM_BINS]; /* the share of values in each bin, averaged over the batches */
};

/* Empty bins for a first batch whose smallest and largest values are lo and hi, both finite. */
void histogram_init(struct histogram *h, float lo, float hi);

/* Adds a batch of n > 0 values. NaN is in no bin. */
void histogram_add(struct histogram *h, size_t n, const float *x);

/* Where bin i begins. */
double histogram_edge(const struct histogram *h, int i);

/* The range that has been seen, in whole bins: from where the first filled bin begins to where the last begins; it contains 0 and is at least 0.01 wide. */
void histogram_range(const struct histogram *h, float *lo, float *hi);

/* The range that leaves out (100 - percentile) % of the values at either end; it may not contain 0. 100 is histogram_range(). */
void histogram_percentile(const struct histogram *h, double percentile, float *lo, float *hi);

#endif
