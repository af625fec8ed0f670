#include "core/kernels/shifts.h"

#include "core/base/simd.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM = 128 * 1024, LANES = 16 }; /* floats */

bool shifts_fit(const struct patches *p)
{
	return !p->linear && p->in[0] == 1 && p->out[0] == 1 && p->kernel[0] == 1 && p->pad[0] == 0 && p->positions > 0;
}

static int64_t round_up(int64_t n)
{
	return (n + LANES - 1) / LANES * LANES;
}

/* How far the last tap shifts along dimension i, in places of a phase. */
static int64_t reach(const struct patches *p, int i)
{
	return (p->kernel[i] - 1) * p->dilation[i] / p->stride[i];
}

int shifts_init(struct shifts *s, const struct patches *p)
{
	*s = (struct shifts){.taps = p->kernel[1] * p->kernel[2], .phases = p->stride[1] * p->stride[2]};
	s->row = p->out[2] + reach(p, 2);
	s->plane = (p->out[1] + reach(p, 1)) * s->row;
	s->slack = reach(p, 1) * s->row + reach(p, 2) + LANES;
	s->channels = p->fan_in / s->taps;
	int64_t images = p->positions / (p->out[1] * p->out[2]), one = s->plane * s->phases * s->channels;
	s->images = one < ROOM ? ROOM / one : 1;
	s->images = s->images < images ? s->images : images;
	s->length = round_up(p->out[1] * s->row);
	s->mask = calloc((size_t)s->length, sizeof *s->mask);
	if (!s->mask)
		return -1;
	for (int64_t y = 0; y < p->out[1]; y++)
		for (int64_t z = 0; z < p->out[2]; z++)
			s->mask[y * s->row + z] = 1;
	return 0;
}

void shifts_fini(struct shifts *s)
{
	free(s->mask);
	*s = (struct shifts){0};
}

/* The planes of one phase of one channel, for all images. */
static int64_t stack(const struct shifts *s)
{
	return s->images * s->plane + s->slack;
}

int64_t shifts_room(const struct shifts *s)
{
	return stack(s) * s->phases * s->channels;
}

/* Places first .. end-1 of a phase's dimension that hold real pixels: place r holds pixel r * stride + phase - pad. */
static void real_range(const struct patches *p, int i, int64_t phase, int64_t places, int64_t *first, int64_t *end)
{
	int64_t start = phase - p->pad[i], step = p->stride[i];
	*first = start < 0 ? (-start + step - 1) / step : 0;
	*end = start >= p->in[i] ? 0 : (p->in[i] - 1 - start) / step + 1;
	*end = *end < places ? *end : places;
	*first = *first < *end ? *first : *end;
}

enum { V = SIMD_FLOATS };
typedef float lanes __attribute__((vector_size(V * sizeof(float)), aligned(sizeof(float)), may_alias));

typedef float four __attribute__((vector_size(4 * sizeof(float)), aligned(sizeof(float)), may_alias));

#if defined(__aarch64__)
#define EVEN 0, 2, 4, 6
#define ODD  1, 3, 5, 7
#else
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD  1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#endif

SIMD_BODY shifts_split_body(const float *in, int64_t n, float *even, float *odd)
{
	int64_t i = 0;
	for (; i + 2 * V <= n; i += 2 * V) {
		lanes low = *(const lanes *)(in + i), high = *(const lanes *)(in + i + V);
		*(lanes *)(even + i / 2) = __builtin_shufflevector(low, high, EVEN);
		*(lanes *)(odd + i / 2) = __builtin_shufflevector(low, high, ODD);
	}
	for (; i + 8 <= n; i += 8) {
		four low = *(const four *)(in + i), high = *(const four *)(in + i + 4);
		*(four *)(even + i / 2) = __builtin_shufflevector(low, high, 0, 2, 4, 6);
		*(four *)(odd + i / 2) = __builtin_shufflevector(low, high, 1, 3, 5, 7);
	}
	for (; i < n; i++)
		(i % 2 ? odd : even)[i / 2] = in[i];
}

SIMD_DISPATCH(shifts_split, (const float *in, int64_t n, float *even, float *odd), (in, n, even, odd))

/* Mostly none or one. */
static void clear(float *at, int64_t n)
{
	if (n == 1)
		*at = 0;
	else if (n > 1)
		memset(at, 0, (size_t)n * sizeof *at);
}

/* Zeros around places first .. end-1 of a row. */
static void clear_around(float *row, int64_t first, int64_t end, int64_t places)
{
	clear(row, first);
	clear(row + end, places - end);
}

/* The pixels of row y of phase a. */
static const float *pixels_of(const struct patches *p, const float *picture, int64_t a, int64_t y)
{
	return picture + (y * p->stride[1] + a - p->pad[1]) * p->in[2];
}

/* Places of a phase's row that hold real pixels. */
struct places {
	int64_t first, end;
};

/* A row of pixels into that of phase b, every stride-th of them. */
static void lay_out_row(const struct patches *p, const float *pixels, int64_t b, const struct places *in, float *to)
{
	int64_t step = p->stride[2];
	const float *from = pixels + b - p->pad[2];
	if (step == 1)
		memcpy(to + in->first, from + in->first, (size_t)(in->end - in->first) * sizeof *to);
	else
		for (int64_t z = in->first; z < in->end; z++)
			to[z] = from[z * step];
}

/* The same for a stride of 2 and both phases at once, `apart` floats from each other: pixels are read in their order. */
static void split_row(const struct patches *p, const float *pixels, const struct places in[2], float *to, int64_t apart)
{
	int64_t phase = p->pad[2] % 2; /* of pixel 0 */
	const struct places *e = &in[phase], *o = &in[1 - phase];
	int64_t even = e->end - e->first, odd = o->end - o->first;
	int64_t n = even > odd ? 2 * odd + 1 : 2 * even; /* a row may end before the picture, with either phase */
	shifts_split(pixels, n, to + phase * apart + e->first, to + (1 - phase) * apart + o->first);
}

/* The phases (a, ·) of one channel of one image, each `apart` floats behind the other, zeros around them. */
static void lay_out(const struct shifts *s, const struct patches *p, const float *picture, int64_t a, float *planes, int64_t apart)
{
	int64_t y0, y1, step = p->stride[2];
	struct places in[2];
	real_range(p, 1, a, s->plane / s->row, &y0, &y1);
	for (int64_t b = 0; b < step; b++) {
		struct places *at = &in[step == 2 ? b : 0];
		float *plane = planes + b * apart;
		real_range(p, 2, b, s->row, &at->first, &at->end);
		clear_around(plane, y0 * s->row, y1 * s->row, s->plane);
		for (int64_t y = y0; y < y1; y++) {
			clear_around(plane + y * s->row, at->first, at->end, s->row);
			if (step != 2)
				lay_out_row(p, pixels_of(p, picture, a, y), b, at, plane + y * s->row);
		}
	}
	for (int64_t y = y0; y < y1 && step == 2; y++)
		split_row(p, pixels_of(p, picture, a, y), in, planes + y * s->row, apart);
}

void shifts_fill(const struct shifts *s, const struct patches *p, const float *x, int64_t g, int64_t first, int64_t n, float *room,
                 const float **rows)
{
	int64_t picture = p->in[1] * p->in[2];
	for (int64_t c = 0; c < s->channels; c++)
		for (int64_t f = 0; f < s->phases; f += p->stride[2]) {
			float *planes = room + (c * s->phases + f) * stack(s);
			for (int64_t i = 0; i < n; i++)
				lay_out(s, p, x + ((first + i) * p->in_channels + g * s->channels + c) * picture, f / p->stride[2],
				        planes + i * s->plane, stack(s));
			for (int64_t b = 0; b < p->stride[2]; b++)
				memset(planes + b * stack(s) + n * s->plane, 0, (size_t)(stack(s) - n * s->plane) * sizeof *planes);
		}
	for (int64_t k = 0; k < s->channels * s->taps; k++) {
		int64_t c = k / s->taps, y = k % s->taps / p->kernel[2] * p->dilation[1], z = k % p->kernel[2] * p->dilation[2];
		int64_t phase = y % p->stride[1] * p->stride[2] + z % p->stride[2];
		rows[k] = room + (c * s->phases + phase) * stack(s) + y / p->stride[1] * s->row + z / p->stride[2];
	}
}
