/* What is shared by those who make new models: see onnx_build.h. */

#include "core/onnx/onnx_build.h"

#include "core/base/half.h"

#include <stdlib.h>
#include <string.h>

enum { SHARE_FROM = 4096 }; /* bytes; smaller weights are cheaper inside the model */

/* ---- floats to a tensor's own element type ---- */

static void encode(int elem_type, const float *in, size_t n, void *out)
{
	if (elem_type == PB_FLOAT)
		memcpy(out, in, n * sizeof *in);
	for (size_t i = 0; elem_type != PB_FLOAT && i < n; i++) {
		if (elem_type == PB_DOUBLE)
			((double *)out)[i] = (double)in[i];
		else
			((uint16_t *)out)[i] = elem_type == PB_FLOAT16 ? half_from_float(in[i]) : bfloat_from_float(in[i]);
	}
}

/* ---- memory ---- */

void *pool_take(struct pool *pool, size_t count, size_t size)
{
	if (pool->n == pool->cap) {
		size_t cap = pool->cap ? pool->cap * 2 : 64;
		void **p = realloc(pool->p, cap * sizeof *p);
		if (!p)
			return NULL;
		pool->p = p;
		pool->cap = cap;
	}
	void *x = calloc(count ? count : 1, size);
	if (x)
		pool->p[pool->n++] = x;
	return x;
}

char *pool_text(struct pool *pool, const char *s)
{
	size_t n = strlen(s) + 1;
	char *copy = pool_take(pool, n, 1);
	return copy ? memcpy(copy, s, n) : NULL;
}

void pool_fini(struct pool *pool)
{
	for (size_t i = 0; i < pool->n; i++)
		free(pool->p[i]);
	free(pool->p);
}

/* ---- types and tensors ---- */

Onnx__TypeProto *build_tensor_type(struct pool *pool, int elem_type, int rank, const int64_t *shape)
{
	Onnx__TypeProto *type = pool_take(pool, 1, sizeof *type);
	Onnx__TypeProto__Tensor *tensor = pool_take(pool, 1, sizeof *tensor);
	if (!type || !tensor)
		return NULL;
	onnx__type_proto__init(type);
	onnx__type_proto__tensor__init(tensor);
	type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	type->tensor_type = tensor;
	tensor->has_elem_type = 1;
	tensor->elem_type = elem_type;
	if (rank < 0)
		return type;
	tensor->shape = pool_take(pool, 1, sizeof *tensor->shape);
	if (!tensor->shape)
		return NULL;
	onnx__tensor_shape_proto__init(tensor->shape);
	tensor->shape->n_dim = (size_t)rank;
	tensor->shape->dim = pool_take(pool, (size_t)rank, sizeof *tensor->shape->dim);
	for (int i = 0; tensor->shape->dim && i < rank; i++) {
		Onnx__TensorShapeProto__Dimension *d = tensor->shape->dim[i] = pool_take(pool, 1, sizeof *d);
		if (!d)
			return NULL;
		onnx__tensor_shape_proto__dimension__init(d);
		if (shape[i] >= 0) {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
			d->dim_value = shape[i];
		}
	}
	return tensor->shape->dim ? type : NULL;
}

Onnx__ValueInfoProto *build_value_info(struct pool *pool, const char *name, Onnx__TypeProto *type)
{
	Onnx__ValueInfoProto *v = pool_take(pool, 1, sizeof *v);
	if (!v)
		return NULL;
	onnx__value_info_proto__init(v);
	v->name = (char *)name;
	v->type = type;
	return v;
}

Onnx__TensorProto *build_replacement(struct pool *pool, const Onnx__TensorProto *t, const char *name, const float *data)
{
	size_t n = (size_t)pb_tensor_count(t), bytes = n * pb_elem_size(t->data_type);
	Onnx__TensorProto *r = pool_take(pool, 1, sizeof *r);
	void *raw = pool_take(pool, 1, bytes ? bytes : 1);
	if (!r || !raw)
		return NULL;
	encode(t->data_type, data, n, raw);
	onnx__tensor_proto__init(r);
	r->name = (char *)name;
	r->n_dims = t->n_dims;
	r->dims = t->dims;
	r->has_data_type = 1;
	r->data_type = t->data_type;
	r->has_raw_data = 1;
	r->raw_data.data = raw;
	r->raw_data.len = bytes;
	return r;
}

/* A float32 tensor whose data stays where it is: the caller's, or the model's own. */
static Onnx__TensorProto *shared(struct pool *pool, const Onnx__TensorProto *t, const char *name, const void *data, size_t bytes,
                                 struct onnx_shared *list)
{
	static char key[] = "location", place[] = "shared";
	Onnx__TensorProto *r = pool_take(pool, 1, sizeof *r);
	Onnx__StringStringEntryProto *entry = pool_take(pool, 1, sizeof *entry);
	if (!r || !entry)
		return NULL;
	onnx__tensor_proto__init(r);
	onnx__string_string_entry_proto__init(entry);
	entry->key = key;
	entry->value = place;
	r->name = (char *)name;
	r->n_dims = t->n_dims;
	r->dims = t->dims;
	r->has_data_type = 1;
	r->data_type = t->data_type;
	r->has_data_location = 1;
	r->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
	r->external_data = pool_take(pool, 1, sizeof *r->external_data);
	if (!r->external_data)
		return NULL;
	r->external_data[0] = entry;
	r->n_external_data = 1;
	*list = (struct onnx_shared){.name = name, .elem_type = t->data_type, .rank = (int)t->n_dims, .data = data, .bytes = bytes};
	for (int i = 0; i < list->rank; i++)
		list->shape[i] = t->dims[i];
	return r;
}

Onnx__TensorProto *build_constant(struct pool *pool, const struct onnx_model *m, int v, const float *data, struct onnx_shared *list,
                                  size_t *nshared)
{
	const Onnx__TensorProto *t = m->tensors[v];
	const char *name = m->values[v].name;
	size_t bytes = (size_t)pb_tensor_count(t) * pb_elem_size(t->data_type);
	bool can_share = list && t->data_type == PB_FLOAT && bytes >= SHARE_FROM && t->n_dims <= ARRAY_MAX_RANK;
	if (can_share && (data || t->has_raw_data || t->n_float_data * sizeof(float) == bytes)) {
		const void *bytes_at = data ? (const void *)data : t->has_raw_data ? (const void *)t->raw_data.data : t->float_data;
		return shared(pool, t, name, bytes_at, bytes, &list[(*nshared)++]);
	}
	return data ? build_replacement(pool, t, name, data) : (Onnx__TensorProto *)t;
}

/* ---- serializing ---- */

int build_pack(const Onnx__ModelProto *pb, struct buf *out, struct err *e)
{
	size_t len = onnx__model_proto__get_packed_size(pb);
	if (len > INT32_MAX)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model would be larger than 2 GiB");
	char *bytes = malloc(len + 1);
	if (!bytes)
		return err_nomem(e, "a serialized model");
	(void)onnx__model_proto__pack(pb, (uint8_t *)bytes);
	bytes[len] = '\0';
	*out = (struct buf){bytes, len, len + 1, false};
	return 0;
}
