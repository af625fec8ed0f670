#ifndef SEQMSE_ARRAY_H
#define SEQMSE_ARRAY_H

/* What is known of an array without its numbers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum array_type {
	ARRAY_BOOL,
	ARRAY_I8,
	ARRAY_U8,
	ARRAY_I16,
	ARRAY_U16,
	ARRAY_I32,
	ARRAY_U32,
	ARRAY_I64,
	ARRAY_U64,
	ARRAY_F16,
	ARRAY_F32,
	ARRAY_F64,
	ARRAY_BF16,  /* in files only: no input of a model is fed with it */
	ARRAY_OTHER, /* what nobody here reads */
	ARRAY_IMAGE  /* pictures that are not numbers yet (image_set.h) */
};

enum { ARRAY_MAX_RANK = 16 };

struct array {
	const char *name;
	enum array_type type;
	char descr[16]; /* the type as the file spells it, "<f4"; cut off where longer */
	int rank;
	int64_t shape[ARRAY_MAX_RANK];
};

size_t array_type_size(enum array_type type);      /* bytes of one element; 0 for ARRAY_OTHER and ARRAY_IMAGE */
const char *array_type_name(enum array_type type); /* "float32", as numpy says; "other", "image" */

/* Elements in a row, that is, in one place on axis 0, and their bytes. False where a dimension is negative or the bytes of all rows are more
 * than an int64_t holds. */
bool array_row_bytes(const struct array *a, uint64_t *bytes);

/* How many places axis 0 has; a number by itself is one row. */
uint64_t array_rows(const struct array *a);

#endif
