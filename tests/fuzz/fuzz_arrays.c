/* Any file, in any of the forms of arrays.h: its arrays are listed, and some rows of each read, forward and backward, and as a calibration set. */

#include "core/data/calib.h"
#include "core/base/err.h"
#include "core/data/arrays.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 1 << 20, ARRAYS = 16 }; /* bytes and arrays that are read */

static void read_rows(struct arrays *z, const struct array *a)
{
	struct err e = ERR_INIT;
	size_t row = array_type_size(a->type);
	int64_t rows = a->rank ? a->shape[0] : 1, some;
	for (int d = 1; d < a->rank; d++)
		if (__builtin_mul_overflow(row, (size_t)a->shape[d], &row))
			return; /* of an array that cannot be read */
	if (row > MOST)
		return;
	some = row == 0 || rows < (int64_t)(MOST / row) ? rows : (int64_t)(MOST / row);
	unsigned char *out = malloc((size_t)some * row + 1);
	if (!out)
		abort();
	if (arrays_read_rows(z, a, 0, some, out, &e) == 0 && rows > some)
		(void)arrays_read_rows(z, a, rows - some, some, out, &e);
	if (rows > 0)
		(void)arrays_read_rows(z, a, rows / 2, 1, out, &e);
	free(out);
}

static void read_batches(struct arrays *z, enum array_type type)
{
	struct err e = ERR_INIT;
	const struct calib_input in = {.name = "x", .type = type, .rank = -1};
	struct calib *c = calib_new(z, &in, 1, 2, 4, &e);
	if (!c)
		return;
	for (int64_t b = 0; b < calib_batches(c) && calib_bytes(c, 0, b) <= MOST; b++) {
		void *out = malloc(calib_bytes(c, 0, b));
		if (!out)
			abort();
		(void)calib_read(c, 0, b, out, &e);
		free(out);
	}
	calib_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	struct arrays *z = arrays_open_fd(fd, "fuzz", &e);
	(void)close(fd);
	if (!z)
		return 0;
	if (arrays_are_images(z))
		(void)arrays_preprocess(z, "\"resize=9x7,crop=5x6,filter=bicubic\"", &e);
	for (size_t i = 0; i < arrays_count(z) && i < ARRAYS; i++) {
		if (arrays_find(z, arrays_at(z, i)->name) != arrays_at(z, i))
			abort();
		read_rows(z, arrays_at(z, i));
	}
	read_batches(z, ARRAY_F32);
	read_batches(z, ARRAY_F16);
	read_batches(z, ARRAY_I32);
	arrays_free(z);
	return 0;
}
