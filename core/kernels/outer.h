#ifndef SEQMSE_OUTER_H
#define SEQMSE_OUTER_H

/* Sums of outer products of pixels, a pixel being the numbers that its channels have there. Channels lie in panels of OUTER_PANEL, pixel by pixel: channel c of
 * pixel u at x[c / OUTER_PANEL * panel + u * OUTER_PANEL + c % OUTER_PANEL], panel being the floats of a panel. So a product with a picture that is shifted starts
 * somewhere else and copies nothing. */

#include <stdint.h>

enum { OUTER_PANEL = 16, OUTER_ROWS = 8, OUTER_COLUMNS = 2 * OUTER_PANEL };

/* How many panels so many channels fill. */
int64_t outer_panels(int64_t channels);

/* Puts channels side by side: to[u * OUTER_PANEL + c] = from[c * ld + u * step], u < n; 0 from channel `channels` on. */
void outer_panel(const float *from, int64_t ld, int64_t step, int64_t n, int64_t channels, float *to);

/* Which pixels: n[0] times n[1] times n[2], so many floats from one to the next. */
struct outer_span {
	int64_t n[3], step[3];
};

/* out[r][c] = sum over the pixels u of a[u][r] b[u][c], for r < OUTER_ROWS and c < columns, which is OUTER_PANEL or OUTER_COLUMNS; out has
 * OUTER_COLUMNS numbers a row. a points at a channel divisible by OUTER_ROWS of the first pixel, b at the first channel of a panel. Each entry is one
 * float sum, in the order of the pixels, of fused multiply-adds; an x86 processor that has none rounds twice. outer_plain() is the same without SIMD. */
void outer(const float *a, const float *b, int64_t panel, int64_t columns, const struct outer_span *s, float *out);
void outer_plain(const float *a, const float *b, int64_t panel, int64_t columns, const struct outer_span *s, float *out);

#endif
