#include "core/run/feed.h"

#include "core/base/half.h"

#include <stdlib.h>
#include <string.h>

enum { ELEM_FLOAT = 1, ELEM_FLOAT16 = 10 };

int feed_value(const struct feed *f, int value)
{
	return value % onnx_model_values(f->m);
}

const char *feed_name(const struct feed *f, int value)
{
	return onnx_model_value(f->m, feed_value(f, value))->name;
}

static bool is_input(const struct feed *f, int value)
{
	return onnx_model_value(f->m, feed_value(f, value))->is_input;
}

static size_t input_index(const struct feed *f, int value)
{
	const char *name = feed_name(f, value);
	size_t i = 0;
	while (strcmp(onnx_model_input(f->m, i)->name, name) != 0)
		i++;
	return i;
}

static struct ort_value *read_input(const struct feed *f, int value, int64_t batch, struct err *e)
{
	size_t i = input_index(f, value);
	int64_t shape[ARRAY_MAX_RANK];
	int rank = calib_shape(f->calib, i, batch, shape);
	struct ort_value *v = ort_tensor_new(f->ort, onnx_model_input(f->m, i)->elem_type, rank, shape, e);
	if (v && calib_read(f->calib, i, batch, ort_value_data(f->ort, v), e)) {
		ort_value_free(f->ort, v);
		v = NULL;
	}
	return v;
}

struct ort_value *feed_get(const struct feed *f, int value, int64_t batch, struct err *e)
{
	if (!is_input(f, value) || activations_has(f->acts, value, batch))
		return activations_get(f->acts, value, batch, e);
	struct ort_value *v = read_input(f, value, batch, e);
	if (v)
		(void)activations_offer(f->acts, value, batch, v);
	return v;
}

void feed_done(const struct feed *f, int value, int64_t batch, struct ort_value *v)
{
	if (activations_has(f->acts, value, batch))
		activations_done(f->acts, value, batch, v);
	else
		ort_value_free(f->ort, v);
}

static void input_info(const struct feed *f, int value, int64_t batch, struct ort_info *info)
{
	size_t i = input_index(f, value);
	*info = (struct ort_info){.elem_type = onnx_model_input(f->m, i)->elem_type};
	info->rank = calib_shape(f->calib, i, batch, info->shape);
}

int feed_describe(const struct feed *f, int value, struct onnx_feed *out, struct err *e)
{
	int64_t batches = calib_batches(f->calib);
	*out = (struct onnx_feed){.value = feed_value(f, value)};
	for (int64_t b = 0; b < batches; b++) {
		struct ort_info info;
		if (is_input(f, value))
			input_info(f, value, b, &info);
		else
			activations_info(f->acts, value, b, &info);
		if (b == 0) {
			out->sequence = info.sequence;
			out->elem_type = info.elem_type;
			out->rank = info.rank;
			memcpy(out->shape, info.shape, sizeof out->shape);
		}
		if (info.sequence != out->sequence || (info.elem_type != out->elem_type && !info.sequence))
			return err_set(e, ERR_UNSUPPORTED_GRAPH, "the type of %s changes between batches", feed_name(f, value));
		if (info.rank != out->rank)
			out->rank = -1;
		for (int i = 0; i < out->rank; i++)
			if (info.shape[i] != out->shape[i])
				out->shape[i] = -1;
	}
	return 0;
}

const float *feed_floats(const struct feed *f, struct ort_value *v, struct ort_info *info, float **copy, struct err *e)
{
	*copy = NULL;
	if (ort_value_info(f->ort, v, info, e))
		return NULL;
	const void *data = ort_value_data(f->ort, v);
	if (!info->sequence && info->elem_type == ELEM_FLOAT)
		return data;
	if (info->sequence || info->elem_type != ELEM_FLOAT16) {
		err_set(e, ERR_UNSUPPORTED_GRAPH, "a layer's input is %s; float and float16 can be searched",
		        onnx_elem_type_name(info->elem_type));
		return NULL;
	}
	*copy = malloc((size_t)(info->count ? info->count : 1) * sizeof **copy);
	if (!*copy) {
		err_nomem(e, "a layer's input");
		return NULL;
	}
	for (int64_t i = 0; i < info->count; i++)
		(*copy)[i] = half_to_float(((const uint16_t *)data)[i]);
	return *copy;
}
