#ifndef SEQMSE_ARRAYS_FORM_H
#define SEQMSE_ARRAYS_FORM_H

/* Between arrays.c and the forms of files that it opens. */

#include "core/data/arrays.h"

struct arrays_form {
	/* Lists the arrays, by arrays_add(), and sets z->own. 0, or -1; free is called also after a failure. */
	int (*open)(struct arrays *z, struct err *e);
	/* rows of array i, which are there; they have bytes. The error need not name file or array. */
	int (*read)(struct arrays *z, size_t i, uint64_t first, uint64_t rows, void *out, struct err *e);
	void (*free)(struct arrays *z); /* z->own, which may be NULL */
};

struct arrays {
	const struct arrays_form *form;
	char *name;
	int fd;        /* -1: a folder */
	uint64_t size; /* of the file */
	struct array *list;
	size_t count, room;
	void *own; /* the form's */
};

extern const struct arrays_form npz_form, npy_form, safetensors_form, test_sets_form, image_set_form;

/* A new array of that name, which is copied; len bytes of it. Valid until the next is added. NULL: the name has control characters or is there
 * already, or no memory. Its error names the array. */
struct array *arrays_add(struct arrays *z, const char *name, size_t len, struct err *e);

/* Exactly n bytes from byte at on. */
int arrays_read_file(const struct arrays *z, void *out, size_t n, uint64_t at, struct err *e);

/* ERR_CALIBRATION. */
int arrays_bad(struct err *e, const char *what);

/* Text out of a file ends up in messages and on terminals. */
bool arrays_is_printable(const char *text);

#endif
