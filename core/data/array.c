#include "core/data/array.h"

static const struct {
	const char *name;
	size_t size;
} types[] = {
	[ARRAY_BOOL] = {"bool", 1},     [ARRAY_I8] = {"int8", 1},     [ARRAY_U8] = {"uint8", 1},    [ARRAY_I16] = {"int16", 2},
	[ARRAY_U16] = {"uint16", 2},    [ARRAY_I32] = {"int32", 4},   [ARRAY_U32] = {"uint32", 4},  [ARRAY_I64] = {"int64", 8},
	[ARRAY_U64] = {"uint64", 8},    [ARRAY_F16] = {"float16", 2}, [ARRAY_F32] = {"float32", 4}, [ARRAY_F64] = {"float64", 8},
	[ARRAY_BF16] = {"bfloat16", 2}, [ARRAY_OTHER] = {"other", 0}, [ARRAY_IMAGE] = {"image", 0},
};

size_t array_type_size(enum array_type type)
{
	return types[type].size;
}

const char *array_type_name(enum array_type type)
{
	return types[type].name;
}

uint64_t array_rows(const struct array *a)
{
	return a->rank ? (uint64_t)a->shape[0] : 1;
}

bool array_row_bytes(const struct array *a, uint64_t *bytes)
{
	uint64_t all;
	*bytes = array_type_size(a->type);
	for (int d = 0; d < a->rank; d++)
		if (a->shape[d] < 0 || (d > 0 && __builtin_mul_overflow(*bytes, (uint64_t)a->shape[d], bytes)))
			return false;
	return !__builtin_mul_overflow(*bytes, array_rows(a), &all) && all <= INT64_MAX;
}
