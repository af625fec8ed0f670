#ifndef SEQMSE_SHIFTS_H
#define SEQMSE_SHIFTS_H

/* A two-dimensional convolution's input vectors without copying each of their entries. The zero-padded picture is laid out once in
 * rows of a common length, for stride s split into s x s phases; then entry k of all vectors is one run of memory, shifted by k's tap, with
 * some places between the rows that are no vectors. A mask of ones and zeros tells which are.
 */

#include "core/kernels/patches.h"

#include <stdbool.h>
#include <stdint.h>

struct shifts {
	int64_t row, plane;     /* floats from a row to the next; of a phase of one image */
	int64_t channels, taps; /* of a group; kernel places */
	int64_t phases, images; /* images that are laid out at a time, at most */
	int64_t slack;          /* floats behind the last plane that shifts may reach */
	int64_t length;         /* places of an image from its first vector to its last, rounded up to 16 */
	float *mask;            /* [length] */
};

/* Whether the geometry is of this kind. */
bool shifts_fit(const struct patches *p);

/* Lays out images of which one takes at most about half a MiB at a time (at least one image). 0, or -1 without memory. */
int shifts_init(struct shifts *s, const struct patches *p);
void shifts_fini(struct shifts *s);

int64_t shifts_room(const struct shifts *s); /* floats */

/* Lays out images first .. first+n-1 of group g in room, and points rows[k] at entry k of the vectors of the first image; those of image i lie
 * i * plane further. What the room holds is finite where x is. */
void shifts_fill(const struct shifts *s, const struct patches *p, const float *x, int64_t g, int64_t first, int64_t n, float *room,
                 const float **rows);

/* even[i] = in[2 i] and odd[i] = in[2 i + 1] for the pixels in[0 .. n-1]. shifts_split_plain() is the same without SIMD. */
void shifts_split(const float *in, int64_t n, float *even, float *odd);
void shifts_split_plain(const float *in, int64_t n, float *even, float *odd);

#endif
