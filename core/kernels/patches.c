#include "core/kernels/patches.h"

#include <string.h>

/* ---- geometry ---- */

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

/* Output size and begin padding of one spatial dimension, as ONNX defines Conv's auto_pad. */
static int64_t out_size(const struct layer *l, int i, int64_t in, int64_t *pad)
{
	int64_t reach = (l->kernel[i] - 1) * l->dilation[i] + 1;
	if (l->auto_pad == LAYER_PAD_EXPLICIT) {
		*pad = l->pad_begin[i];
		int64_t room = in + l->pad_begin[i] + l->pad_end[i] - reach;
		return room < 0 ? 0 : room / l->stride[i] + 1;
	}
	int64_t out = ceil_div(in, l->stride[i]), total = (out - 1) * l->stride[i] + reach - in;
	bool upper = l->auto_pad == LAYER_PAD_SAME_UPPER;
	if (total < 0) /* the stride jumps over pixels: ONNX Runtime then crops, where ONNX says nothing, and rounds like this */
		*pad = (total + (upper ? 1 : 2)) / 2;
	else
		*pad = upper ? total / 2 : total - total / 2;
	return out;
}

/* A pointwise convolution looks at pixels one by one: one long row is as good as a picture, and cheaper. */
static void flatten_pointwise(struct patches *p)
{
	for (int i = 0; i < 3; i++)
		if (p->kernel[i] != 1 || p->stride[i] != 1 || p->pad[i] != 0 || p->in[i] != p->out[i])
			return;
	int64_t volume = p->in[0] * p->in[1] * p->in[2];
	p->in[0] = p->in[1] = p->out[0] = p->out[1] = 1;
	p->in[2] = p->out[2] = volume;
}

static int init_conv(struct patches *p, const struct layer *l, const struct ort_info *x, struct err *e)
{
	if (x->rank != l->spatial + 2)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "a Conv weight with %d dimensions meets an input with %d", l->spatial + 2,
		               x->rank);
	p->in_channels = x->shape[1];
	p->positions = x->shape[0];
	for (int i = 0; i < 3; i++) {
		bool real = i >= 3 - l->spatial;
		p->in[i] = real ? x->shape[2 + i - (3 - l->spatial)] : 1;
		p->kernel[i] = l->kernel[i];
		p->stride[i] = l->stride[i];
		p->dilation[i] = l->dilation[i];
		p->out[i] = real ? out_size(l, i, p->in[i], &p->pad[i]) : 1;
		p->positions *= p->out[i];
	}
	if (p->in_channels * l->kernel[0] * l->kernel[1] * l->kernel[2] != p->fan_in * p->groups)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "a Conv weight for %lld channels meets an input with %lld",
		               (long long)(p->fan_in * p->groups / (l->kernel[0] * l->kernel[1] * l->kernel[2])),
		               (long long)p->in_channels);
	flatten_pointwise(p);
	return 0;
}

int patches_init(struct patches *p, const struct layer *l, const struct ort_info *x, struct err *e)
{
	*p = (struct patches){.groups = l->groups * l->blocks, .fan_in = l->fan_in / l->blocks};
	if (l->op == LAYER_CONV)
		return init_conv(p, l, x, e);
	p->linear = true;
	p->transposed = l->trans_a;
	int64_t last = x->rank < 1 ? 0 : x->shape[p->transposed ? 0 : x->rank - 1];
	if (x->rank < 1 || last != l->fan_in || (l->op == LAYER_GEMM && x->rank != 2))
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "a weight for rows of %lld meets an input whose rows have %lld",
		               (long long)l->fan_in, (long long)last);
	p->positions = x->count / l->fan_in;
	return 0;
}

int64_t patches_pixels(const struct patches *p)
{
	return p->linear ? 1 : p->out[0] * p->out[1] * p->out[2];
}

static bool same3(const int64_t a[3], const int64_t b[3])
{
	return memcmp(a, b, 3 * sizeof *a) == 0;
}

bool patches_same_layer(const struct layer *a, const struct layer *b)
{
	bool linear = a->op != LAYER_CONV;
	if (a->x != b->x || a->groups != b->groups || a->fan_in != b->fan_in || a->blocks != b->blocks ||
	    linear != (b->op != LAYER_CONV))
		return false;
	if (linear)
		return a->trans_a == b->trans_a;
	return a->auto_pad == b->auto_pad && same3(a->kernel, b->kernel) && same3(a->stride, b->stride) &&
	       same3(a->dilation, b->dilation) && same3(a->pad_begin, b->pad_begin) && same3(a->pad_end, b->pad_end);
}

/* ---- vectors ---- */

bool patches_copies(const struct patches *p)
{
	return !p->linear;
}

/* A convolution that flatten_pointwise() has made one row of. */
static bool is_flat(const struct patches *p)
{
	bool one = p->kernel[0] * p->kernel[1] * p->kernel[2] == 1 && p->in[0] * p->in[1] * p->out[0] * p->out[1] == 1;
	return !p->linear && one && p->stride[2] == 1 && p->pad[2] == 0 && p->in[2] == p->out[2];
}

int64_t patches_plain(const struct patches *p, int64_t first)
{
	return is_flat(p) ? p->in[2] - first % p->in[2] : 0;
}

/* Output pixel `first`, as image and place. */
struct spot {
	int64_t image, d, h, w;
};

static struct spot spot_of(const struct patches *p, int64_t first)
{
	struct spot s;
	s.w = first % p->out[2];
	first /= p->out[2];
	s.h = first % p->out[1];
	first /= p->out[1];
	s.d = first % p->out[0];
	s.image = first / p->out[0];
	return s;
}

enum { LONG_RUN = 48 }; /* from here on a call of memcpy pays */

/* out[j] = row[start + j * stride] where that lies inside 0 .. width-1, else 0, for j < n */
static void copy_run(const float *row, int64_t width, int64_t start, int64_t stride, int64_t n, float *out)
{
	int64_t j = 0;
	int64_t begin = start < 0 ? (-start + stride - 1) / stride : 0;
	int64_t end = start >= width ? 0 : (width - 1 - start) / stride + 1;
	begin = begin < n ? begin : n;
	end = end < n ? end : n;
	for (; j < begin; j++)
		out[j] = 0;
	if (stride == 1 && end - j > LONG_RUN) {
		memcpy(out + j, row + start + j, (size_t)(end - j) * sizeof *out);
		j = end;
	}
	if (stride == 1)
		for (; j < end; j++)
			out[j] = row[start + j];
	for (; j < end; j++)
		out[j] = row[start + j * stride];
	for (; j < n; j++)
		out[j] = 0;
}

/* Entry k of `count` vectors from `first` on. */
static void gather_entry(const struct patches *p, const float *x, int64_t channel, const int64_t tap[3], int64_t first,
                         int64_t count, float *out)
{
	int64_t plane = p->in[0] * p->in[1] * p->in[2];
	struct spot s = spot_of(p, first);
	while (count > 0) {
		int64_t run = p->out[2] - s.w < count ? p->out[2] - s.w : count;
		int64_t d = s.d * p->stride[0] - p->pad[0] + tap[0] * p->dilation[0];
		int64_t h = s.h * p->stride[1] - p->pad[1] + tap[1] * p->dilation[1];
		int64_t w = s.w * p->stride[2] - p->pad[2] + tap[2] * p->dilation[2];
		if (d < 0 || d >= p->in[0] || h < 0 || h >= p->in[1]) {
			memset(out, 0, (size_t)run * sizeof *out);
		} else {
			const float *row = x + (s.image * p->in_channels + channel) * plane + (d * p->in[1] + h) * p->in[2];
			copy_run(row, p->in[2], w, p->stride[2], run, out);
		}
		out += run;
		count -= run;
		s.w = 0;
		if (++s.h == p->out[1]) {
			s.h = 0;
			if (++s.d == p->out[0]) {
				s.d = 0;
				s.image++;
			}
		}
	}
}

struct patch_tile patches_tile(const struct patches *p, const float *x, int64_t g, int64_t first, int64_t count, int64_t k0,
                               int64_t k1, float *room)
{
	if (p->linear && !p->transposed)
		return (struct patch_tile){x + first * p->fan_in * p->groups + g * p->fan_in, p->fan_in * p->groups, count, false};
	if (p->linear)
		return (struct patch_tile){x + g * p->fan_in * p->positions + first, p->positions, count, true};
	int64_t volume = p->kernel[0] * p->kernel[1] * p->kernel[2], per_group = p->fan_in / volume;
	for (int64_t k = k0; k < k1; k++) {
		int64_t at = k % volume, tap[3];
		tap[2] = at % p->kernel[2];
		tap[1] = at / p->kernel[2] % p->kernel[1];
		tap[0] = at / p->kernel[2] / p->kernel[1];
		gather_entry(p, x, g * per_group + k / volume, tap, first, count, room + k * count);
	}
	return (struct patch_tile){room, count, count, true};
}

struct patch_tile patches_view(const struct patches *p, const float *x, int64_t g, int64_t first, int64_t count)
{
	int64_t image = first / p->in[2], at = first % p->in[2];
	return (struct patch_tile){x + (image * p->in_channels + g * p->fan_in) * p->in[2] + at, p->in[2], count, true};
}
