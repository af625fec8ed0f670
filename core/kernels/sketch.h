#ifndef SEQMSE_SKETCH_H
#define SEQMSE_SKETCH_H

/* What a few directions see of a Gram matrix G: B[rank][k] with |B d|^2 <= d^T G d for every d, at rank / k of the price.
 *
 * With directions Q (rows), B = L^-1 Q G, where L L^T = Q G Q^T: B^T B is G's Nystroem approximation, which is nowhere above G. Inputs of layers have most of
 * their energy in few directions (their mean, if nothing else), and these are found by multiplying random ones with G once; so |B d|^2 is mostly 3/4 of
 * d^T G d or more (DESIGN.md). A small multiple of the identity is added to Q G Q^T: it makes the bound a little lower,
 * and keeps rounding errors of G Q out of it.
 *
 *     sketch_init()                       random directions
 *     product = directions times G        sketch_of_gram(), or sketch_add() for every batch
 *     sketch_turn()                       directions that span the products
 *     product = directions times G        as before
 *     sketch_finish()                     B
 */

#include "core/base/err.h"
#include "core/base/tiles.h"
#include "core/kernels/gram.h"
#include "core/kernels/patches.h"

#include <stdint.h>

struct sketch {
	int64_t k, rank;
	double *direction, *product; /* [rank][k] */
	float *narrow;               /* [rank][k] the directions as floats, then B */
	double *energy;              /* [k] G's diagonal */
	double *rest;                /* [k] the diagonal of G - B^T B */
	double *square, *inverse;    /* [rank][rank], memory for its work */
};

/* rank is at most k. The directions are the same in every run. */
int sketch_init(struct sketch *s, int64_t k, int64_t rank, struct err *e);
void sketch_fini(struct sketch *s);

/* Sets product and energy, of a matrix's only group. */
void sketch_of_gram(struct sketch *s, const struct gram *g, struct tiles *tiles);
/* Adds a batch of vectors to product and energy; both are 0 after sketch_init() and sketch_turn(). */
int sketch_add(struct sketch *s, const struct patches_input *in, struct tiles *tiles, struct err *e);

void sketch_turn(struct sketch *s);
void sketch_finish(struct sketch *s);

/* bound[i] = |B d_i|^2 and guess[i] = that + d_i^2 . rest, about d_i^T G d_i; size[i] = d_i^2 . energy. d is [n][k], room has n * rank floats. */
void sketch_bounds(const struct sketch *s, const float *d, int64_t n, float *room, double *bound, double *guess, double *size);

#endif
