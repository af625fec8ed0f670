#include "core/data/preprocess.h"

#include "core/data/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the line ---- */

struct word {
	const char *key, *value; /* not terminated */
	size_t key_len, len;
};

static int wrong(const struct word *w, const char *expected, struct err *e)
{
	return err_set(e, ERR_BAD_PARAM, "%.*s=%.*s: expected %s", (int)(w->key_len < 40 ? w->key_len : 40), w->key,
	               (int)(w->len < 80 ? w->len : 80), w->value, expected);
}

/* A whole number from 1 on at p, before end. NULL where there is none; else where it ends. */
static const char *take_side(const char *p, const char *end, int *v)
{
	*v = 0;
	for (; p < end && *p >= '0' && *p <= '9' && *v <= PREPROCESS_MAX_SIDE; p++)
		*v = *v * 10 + (*p - '0');
	return *v >= 1 && *v <= PREPROCESS_MAX_SIDE ? p : NULL;
}

/* "224" is (224, 0), "224x320" both. */
static int read_sides(const struct word *w, int *a, int *b, struct err *e)
{
	const char *end = w->value + w->len, *p = take_side(w->value, end, a);
	*b = 0;
	if (p && p < end)
		p = *p == 'x' ? take_side(p + 1, end, b) : NULL;
	return p == end ? 0 : wrong(w, "a number of pixels such as 224, or HEIGHTxWIDTH, up to 4096", e);
}

static bool read_real(const char *text, size_t n, double *v)
{
	char copy[40], *end;
	if (n == 0 || n >= sizeof copy || strspn(text, "0123456789.eE+-") < n)
		return false;
	memcpy(copy, text, n);
	copy[n] = '\0';
	*v = strtod(copy, &end);
	return *end == '\0' && isfinite(*v);
}

/* One number, or three between colons. */
static int read_reals(const struct word *w, double out[3], bool divisor, struct err *e)
{
	const char *p = w->value, *end = w->value + w->len;
	int n = 0;
	for (bool more = true; more && n < 3; n++) {
		const char *colon = memchr(p, ':', (size_t)(end - p)), *stop = colon ? colon : end;
		if (!read_real(p, (size_t)(stop - p), &out[n]) || (divisor && out[n] == 0))
			break;
		more = colon != NULL;
		p = colon ? colon + 1 : end;
		if (!more && n == 0)
			out[1] = out[2] = out[0];
		if (!more)
			return n == 1 ? wrong(w, "one number, or three between colons", e) : 0;
	}
	return wrong(w, divisor ? "numbers other than 0, one, or three between colons" : "one number, or three between colons", e);
}

static int read_scale(const struct word *w, double out[2], struct err *e)
{
	const char *slash = memchr(w->value, '/', w->len);
	size_t n = slash ? (size_t)(slash - w->value) : w->len;
	out[1] = 1;
	bool ok = read_real(w->value, n, &out[0]) && (!slash || read_real(slash + 1, w->len - n - 1, &out[1]));
	return ok && out[0] != 0 && out[1] != 0 ? 0 : wrong(w, "a number or a quotient, such as 1/255", e);
}

/* The place of the value in "a|b|c". */
static int read_choice(const struct word *w, const char *choices, int *out, struct err *e)
{
	int i = 0;
	for (const char *p = choices; *p; i++) {
		size_t n = strcspn(p, "|");
		if (n == w->len && memcmp(p, w->value, n) == 0) {
			*out = i;
			return 0;
		}
		p += p[n] ? n + 1 : n;
	}
	return wrong(w, choices, e);
}

static bool is(const struct word *w, const char *key)
{
	return strlen(key) == w->key_len && memcmp(key, w->key, w->key_len) == 0;
}

static const char *const keys[] = {"resize", "crop", "filter", "color", "scale", "mean", "std", "layout"};

static int key_of(const struct word *w, struct err *e)
{
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (is(w, keys[i]))
			return (int)i;
	return err_set(e, ERR_BAD_PARAM,
	               "\"%.*s\" is not known; there are resize, crop, filter, color, scale, mean, std and layout",
	               (int)(w->key_len < 80 ? w->key_len : 80), w->key);
}

static int read_resize(struct preprocess *p, const struct word *w, struct err *e)
{
	int a, b;
	if (read_sides(w, &a, &b, e))
		return -1;
	p->shorter = b ? 0 : a;
	p->resize_height = b ? a : 0;
	p->resize_width = b;
	return 0;
}

static int read_crop(struct preprocess *p, const struct word *w, struct err *e)
{
	if (read_sides(w, &p->crop_height, &p->crop_width, e))
		return -1;
	p->crop_width = p->crop_width ? p->crop_width : p->crop_height;
	return 0;
}

static int read_word(struct preprocess *p, const struct word *w, unsigned *seen, struct err *e)
{
	int key = key_of(w, e);
	if (key < 0)
		return -1;
	if (*seen & 1u << key)
		return err_set(e, ERR_BAD_PARAM, "%s is there twice", keys[key]);
	*seen |= 1u << key;
	if (!w->value)
		return err_set(e, ERR_BAD_PARAM, "%s has no value: write %s=…", keys[key], keys[key]);
	return is(w, "resize")   ? read_resize(p, w, e)
	       : is(w, "crop")   ? read_crop(p, w, e)
	       : is(w, "filter") ? read_choice(w, "bilinear|bicubic", &p->filter, e)
	       : is(w, "color")  ? read_choice(w, "rgb|bgr|gray", &p->color, e)
	       : is(w, "scale")  ? read_scale(w, p->scale, e)
	       : is(w, "mean")   ? read_reals(w, p->mean, false, e)
	       : is(w, "std")    ? read_reals(w, p->std, true, e)
	                         : read_choice(w, "nchw|nhwc", &p->layout, e);
}

int preprocess_parse(const char *line, struct preprocess *p, struct err *e)
{
	unsigned seen = 0;
	*p = (struct preprocess){.scale = {1, 255}, .std = {1, 1, 1}};
	for (const char *at = line; *at;) {
		size_t n = strcspn(at, ",");
		const char *equals = memchr(at, '=', n);
		struct word w = {.key = at, .key_len = equals ? (size_t)(equals - at) : n, .value = equals ? equals + 1 : NULL};
		w.len = equals ? n - w.key_len - 1 : 0;
		if (read_word(p, &w, &seen, e))
			return -1;
		at += n;
		if (*at == ',' && !*++at)
			return err_set(e, ERR_BAD_PARAM, "the line ends in a comma");
	}
	return 0;
}

int preprocess_check(const struct json *v, struct err *e)
{
	struct preprocess p;
	const char *line = json_text(v);
	return line ? preprocess_parse(line, &p, e)
	            : err_set(e, ERR_BAD_PARAM, "expected a string such as \"resize=256,crop=224\"");
}

int preprocess_read(const char *setting, struct preprocess *p, struct err *e)
{
	struct json *v = json_parse(setting, strlen(setting), e);
	int rc = v ? preprocess_check(v, e) : -1;
	if (!rc)
		rc = preprocess_parse(json_text(v), p, e);
	json_free(v);
	return rc;
}

int preprocess_channels(const struct preprocess *p)
{
	return p->color == PREPROCESS_GRAY ? 1 : 3;
}

/* ---- sizes ---- */

int preprocess_size(const struct preprocess *p, int height, int width, struct preprocess_size *s, struct err *e)
{
	int64_t h = height, w = width, n = p->shorter;
	if (n) {
		h = height <= width ? n : n * height / width;
		w = height <= width ? n * width / height : n;
	} else if (p->resize_height) {
		h = p->resize_height;
		w = p->resize_width;
	}
	if (h * w > IMAGE_MAX_PIXELS || height * w > IMAGE_MAX_PIXELS)
		return err_set(e, ERR_CALIBRATION, "is %d x %d pixels, which would become %lld x %lld: too large", height, width,
		               (long long)h, (long long)w);
	if (p->crop_height > h || p->crop_width > w)
		return err_set(e, ERR_CALIBRATION, "has %lld x %lld pixels, fewer than the crop of %d x %d", (long long)h,
		               (long long)w, p->crop_height, p->crop_width);
	*s = (struct preprocess_size){(int)h, (int)w, p->crop_height ? p->crop_height : (int)h,
	                              p->crop_width ? p->crop_width : (int)w};
	return 0;
}

/* ---- pixels ---- */

/* out[n] = brightness of in[n][3], in 16 bits' fixed point, as Pillow has it. */
static void to_gray(unsigned char *out, const unsigned char *in, size_t n)
{
	for (size_t i = 0; i < n; i++, in += 3)
		out[i] = (unsigned char)((in[0] * 19595u + in[1] * 38470u + in[2] * 7471u + 0x8000u) >> 16);
}

/* What each of the 256 values of a channel becomes, step by step in single precision, as frameworks do it. */
static void make_table(const struct preprocess *p, int channel, float table[256])
{
	float scale = (float)p->scale[0], over = (float)p->scale[1], mean = (float)p->mean[channel],
	      deviation = (float)p->std[channel];
	for (int v = 0; v < 256; v++)
		table[v] = ((float)v * scale / over - mean) / deviation;
}

/* The place of the crop's first pixel: half of the rest, halves to the even number. */
static int crop_start(int whole, int part)
{
	return (int)rint((whole - part) / 2.0);
}

static void write_channel(const struct preprocess *p, const unsigned char *in, const struct preprocess_size *s, int channel,
                          float *out)
{
	int n = preprocess_channels(p), from = p->color == PREPROCESS_BGR ? 2 - channel : channel;
	int top = crop_start(s->resized_height, s->height), left = crop_start(s->resized_width, s->width);
	size_t step = p->layout == PREPROCESS_NHWC ? (size_t)n : 1, pixels = (size_t)s->height * (size_t)s->width;
	float table[256], *to = out + (size_t)channel * (p->layout == PREPROCESS_NHWC ? 1 : pixels);
	make_table(p, channel, table);
	for (int y = 0; y < s->height; y++) {
		const unsigned char *row = in + ((size_t)(top + y) * (size_t)s->resized_width + (size_t)left) * (size_t)n + from;
		for (int x = 0; x < s->width; x++, row += n, to += step)
			*to = table[*row];
	}
}

int preprocess_apply(const struct preprocess *p, const unsigned char *pixels, int height, int width, float *out, struct err *e)
{
	struct preprocess_size s;
	int n = preprocess_channels(p), rc = -1;
	unsigned char *gray = NULL, *resized = NULL;
	const unsigned char *in = pixels;
	if (preprocess_size(p, height, width, &s, e))
		return -1;
	if (n == 1) {
		size_t count = (size_t)height * (size_t)width;
		if (!(gray = malloc(count))) {
			err_nomem(e, "an image");
			goto out;
		}
		to_gray(gray, in, count);
		in = gray;
	}
	if (s.resized_height != height || s.resized_width != width) {
		resized = malloc((size_t)s.resized_height * (size_t)s.resized_width * (size_t)n);
		if (!resized) {
			err_nomem(e, "an image");
			goto out;
		}
		if (resample(resized, s.resized_height, s.resized_width, in, height, width, n, (enum resample_filter)p->filter, e))
			goto out;
		in = resized;
	}
	for (int c = 0; c < n; c++)
		write_channel(p, in, &s, c, out);
	rc = 0;
out:
	free(resized);
	free(gray);
	return rc;
}
