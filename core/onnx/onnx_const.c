/* Constant tensors: their sizes, their data in every storage form, external files. */

#include "core/base/half.h"
#include "core/base/io.h"
#include "core/onnx/onnx_pb.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- external files ---- */

/* A number of bytes out of the model; -1 where it is none. */
static int64_t bytes_field(const Onnx__TensorProto *t, const char *key, int64_t dflt)
{
	const char *text = pb_external(t, key);
	char *end;
	if (!text)
		return dflt;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	return errno || end == text || *end || v < 0 ? -1 : v;
}

static void drop_external_fields(Onnx__TensorProto *t)
{
	for (size_t i = 0; i < t->n_external_data; i++)
		onnx__string_string_entry_proto__free_unpacked(t->external_data[i], NULL);
	free(t->external_data);
	t->external_data = NULL;
	t->n_external_data = 0;
	t->has_data_location = 0;
	t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
}

struct attachment {
	const struct onnx_external *files;
	size_t n;
};

static int attach_tensor(Onnx__TensorProto *t, void *ctx, struct err *e)
{
	const struct attachment *a = ctx;
	if (!pb_is_external(t))
		return 0;
	const char *name = pb_str(t->name), *where = pb_external(t, "location");
	const struct onnx_external *file = NULL;
	for (size_t i = 0; i < a->n && !file; i++)
		if (strcmp(a->files[i].name, where) == 0)
			file = &a->files[i];
	if (!file)
		return err_set(e, ERR_NOT_ONNX, "tensor %s: its data file %s is missing", name, where);
	size_t size = pb_elem_size(t->data_type), need = (size_t)pb_tensor_count(t) * size;
	int64_t offset = bytes_field(t, "offset", 0), length = bytes_field(t, "length", (int64_t)need);
	struct stat st;
	if (size == 0 || offset < 0 || length != (int64_t)need)
		return err_set(e, ERR_NOT_ONNX, "tensor %s: its place in %s does not fit its shape and type", name, where);
	if (fstat(file->fd, &st))
		return err_errno(e, errno, "%s", where);
	if (offset > st.st_size || length > st.st_size - offset)
		return err_set(e, ERR_NOT_ONNX, "tensor %s: %s is too short (%lld bytes)", name, where, (long long)st.st_size);
	uint8_t *data = malloc(need ? need : 1); /* protobuf-c frees it with the tensor */
	if (!data)
		return err_nomem(e, "the model's weights");
	ssize_t got = io_pread(file->fd, data, need, (off_t)offset);
	if (got != (ssize_t)need) {
		free(data);
		return err_errno(e, got < 0 ? errno : EIO, "%s", where);
	}
	if (t->has_raw_data)
		free(t->raw_data.data);
	t->has_raw_data = 1;
	t->raw_data.data = data;
	t->raw_data.len = need;
	drop_external_fields(t);
	return 0;
}

int onnx_model_attach(struct onnx_model *m, const struct onnx_external *files, size_t nfiles, struct err *e)
{
	struct attachment a = {files, nfiles};
	return pb_each_tensor(m->pb, attach_tensor, &a, e);
}

/* ---- decoding ---- */

bool onnx_model_const(const struct onnx_model *m, int value, struct onnx_const *info)
{
	const Onnx__TensorProto *t = value < 0 ? NULL : m->tensors[value];
	if (!t || t->n_dims > ARRAY_MAX_RANK)
		return false;
	*info = (struct onnx_const){.elem_type = t->data_type, .rank = (int)t->n_dims, .count = pb_tensor_count(t)};
	for (int i = 0; i < info->rank; i++)
		info->shape[i] = t->dims[i];
	return true;
}

static float from_raw(int elem_type, const uint8_t *p)
{
	uint16_t half;
	double d;
	float f;
	switch (elem_type) {
	case PB_FLOAT:
		memcpy(&f, p, sizeof f);
		return f;
	case PB_DOUBLE:
		memcpy(&d, p, sizeof d);
		return (float)d;
	default:
		memcpy(&half, p, sizeof half);
		return elem_type == PB_FLOAT16 ? half_to_float(half) : bfloat_to_float(half);
	}
}

/* Elements in the typed field that the ONNX standard keeps this type in. */
static size_t typed_count(const Onnx__TensorProto *t)
{
	return t->data_type == PB_FLOAT ? t->n_float_data : t->data_type == PB_DOUBLE ? t->n_double_data : t->n_int32_data;
}

static float from_typed(const Onnx__TensorProto *t, size_t i)
{
	switch (t->data_type) {
	case PB_FLOAT:
		return t->float_data[i];
	case PB_DOUBLE:
		return (float)t->double_data[i];
	case PB_FLOAT16:
		return half_to_float((uint16_t)t->int32_data[i]);
	default:
		return bfloat_to_float((uint16_t)t->int32_data[i]);
	}
}

int onnx_model_const_floats(const struct onnx_model *m, int value, float *out, struct err *e)
{
	const Onnx__TensorProto *t = m->tensors[value];
	const char *name = m->values[value].name;
	size_t n = (size_t)pb_tensor_count(t), size = pb_elem_size(t->data_type);
	if (t->data_type != PB_FLOAT && t->data_type != PB_DOUBLE && t->data_type != PB_FLOAT16 && t->data_type != PB_BFLOAT16)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "tensor %s: %s is no floating point type", name,
		               onnx_elem_type_name(t->data_type));
	if (pb_is_external(t))
		return err_set(e, ERR_NOT_ONNX, "tensor %s: its data file %s is missing", name, pb_external(t, "location"));
	if (t->has_raw_data) {
		for (size_t i = 0; i < n; i++)
			out[i] = from_raw(t->data_type, t->raw_data.data + i * size);
		return 0;
	}
	if (typed_count(t) != n)
		return err_set(e, ERR_NOT_ONNX, "tensor %s: %zu numbers where its shape asks for %zu", name, typed_count(t), n);
	for (size_t i = 0; i < n; i++)
		out[i] = from_typed(t, i);
	return 0;
}

/* Element 0 of an integer tensor. */
static bool first_integer(const Onnx__TensorProto *t, double *x)
{
	int64_t v = 0;
	size_t size = pb_elem_size(t->data_type);
	bool is_unsigned =
		t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__UINT32 || t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__UINT64;
	if (t->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__INT32 && t->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__INT64 &&
	    !is_unsigned)
		return false;
	if (t->has_raw_data && t->raw_data.len == size && size == sizeof v)
		memcpy(&v, t->raw_data.data, sizeof v);
	else if (t->has_raw_data && t->raw_data.len == size && size == sizeof(int32_t)) {
		int32_t narrow;
		memcpy(&narrow, t->raw_data.data, sizeof narrow);
		v = is_unsigned ? (int64_t)(uint32_t)narrow : narrow;
	} else if (!t->has_raw_data && t->n_int64_data == 1)
		v = t->int64_data[0];
	else if (!t->has_raw_data && t->n_int32_data == 1)
		v = t->int32_data[0];
	else if (!t->has_raw_data && t->n_uint64_data == 1)
		v = (int64_t)t->uint64_data[0];
	else
		return false;
	*x = (double)v;
	return true;
}

/* Constant nodes may hold their number in an attribute of its own kind. */
static bool attribute_number(const struct onnx_model *m, int value, double *x)
{
	int node = m->values[value].producer;
	int64_t ints[2];
	if (node < 0 || strcmp(m->nodes[node].op_type, "Constant") != 0)
		return false;
	double as_float = onnx_attr_float(m, node, "value_float", NAN);
	int64_t as_int = onnx_attr_int(m, node, "value_int", INT64_MIN);
	*x = !isnan(as_float) ? as_float : (double)as_int;
	if (!isnan(as_float) || as_int != INT64_MIN)
		return true;
	if (onnx_attr_ints(m, node, "value_ints", ints, 2) != 1)
		return false;
	*x = (double)ints[0];
	return true;
}

bool onnx_model_const_number(const struct onnx_model *m, int value, double *x)
{
	const Onnx__TensorProto *t = m->tensors[value];
	struct err ignored = ERR_INIT;
	float f = 0;
	if (!t)
		return attribute_number(m, value, x);
	if (pb_tensor_count(t) != 1 || pb_is_external(t))
		return false;
	if (t->data_type != PB_FLOAT && t->data_type != PB_DOUBLE && t->data_type != PB_FLOAT16 && t->data_type != PB_BFLOAT16)
		return first_integer(t, x);
	if (onnx_model_const_floats(m, value, &f, &ignored))
		return false;
	*x = (double)f;
	return true;
}
