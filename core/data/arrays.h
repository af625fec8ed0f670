#ifndef SEQMSE_ARRAYS_H
#define SEQMSE_ARRAYS_H

/* Files with arrays in them, whatever their form, which is told by their content:
 *
 *     .npz, .npy         numpy's (npz.h)
 *     .safetensors       (safetensors.h)
 *     .tar               of ONNX test sets: test_data_set_N/input_M.pb (test_sets.h)
 *     .zip, or a folder  of images, which become one array, "images", by a preprocessing line (image_set.h)
 *
 * A file is opened, its arrays are listed from headers only, and rows are then read in any order; memory use is that of one request. The file
 * is not trusted: sizes are checked against the bytes that are there, and before anything is unpacked. Errors are ERR_CALIBRATION with the file's and
 * the array's name, ERR_NOT_FOUND and ERR_IO from the system, ERR_MEMORY. One thread at a time.
 *
 *     struct arrays *z = arrays_open("calib.npz", &e);
 *     const struct array *a = arrays_find(z, "image");
 *     arrays_read_rows(z, a, 0, 32, out, &e);
 *     arrays_free(z); */

#include "core/base/err.h"
#include "core/data/array.h"

struct arrays;

struct arrays *arrays_open(const char *path, struct err *e);
/* The same for an open file descriptor of a regular file, which stays the caller's, its position untouched; name is for messages only. */
struct arrays *arrays_open_fd(int fd, const char *name, struct err *e);
void arrays_free(struct arrays *z);

size_t arrays_count(const struct arrays *z);
const struct array *arrays_at(const struct arrays *z, size_t i);
const struct array *arrays_find(const struct arrays *z, const char *name); /* NULL if there is none */

/* Whether its arrays stand for the model's inputs by their places: "input_0", "input_1", … (test sets). */
bool arrays_are_numbered(const struct arrays *z);

/* Whether it holds images. Before arrays_preprocess() their array is of type ARRAY_IMAGE, has one dimension and cannot be read. line is the setting
 * `preprocess` (preprocess.h); NULL changes nothing. To be called once, before rows are read. ERR_BAD_PARAM where there are no images, and for a line that
 * is wrong. */
bool arrays_are_images(const struct arrays *z);
int arrays_preprocess(struct arrays *z, const char *line, struct err *e);

/* Reads rows first .. first+rows-1 (along axis 0; a rank-0 array has one row) of a, which is one of z's, into out, C order,
 * the file's own element type, little endian. out has room for rows * (product of shape[1..]) elements. */
int arrays_read_rows(struct arrays *z, const struct array *a, int64_t first, int64_t rows, void *out, struct err *e);

#endif
