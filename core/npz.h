#ifndef SEQMSE_NPZ_H
#define SEQMSE_NPZ_H

/* Array files of numpy: .npz (a zip of .npy members, stored or deflated, zip64 as numpy writes it) and a bare .npy.
 * npz.c is the only file that includes zip.h. Format facts: numpy's documentation of the NPY format, versions 1.0 to 3.0.
 *
 * A file is opened, its members listed from their headers only, and rows are then read in any order: memory use is one
 * request's rows, plus, for Fortran-ordered members, one whole member. Reading forward is fast in any file; going backward in
 * a deflated member unpacks it again from its beginning. The file is not trusted: sizes are checked against the bytes that are
 * there, and unpacking stops at what the header declares.
 *
 * Refused: damaged archives and headers, members that do not have exactly the size their header declares, two members of one
 * name, encryption, compression other than deflate, more than NPZ_MAX_MEMBERS members. Ignored: members that are not .npy. Arrays
 * of other types (objects, strings, records, big-endian numbers) are listed as NPZ_OTHER, so that a file may carry them
 * beside the ones that are wanted, but cannot be read; nothing is ever unpickled.
 *
 * Errors are ERR_CALIBRATION with the file's and the member's name, ERR_NOT_FOUND/ERR_IO from the system, ERR_MEMORY.
 * A `struct npz` may be used by one thread at a time.
 */

#include "err.h"

#include <stddef.h>
#include <stdint.h>

enum npz_type {
	NPZ_BOOL,
	NPZ_I8,
	NPZ_U8,
	NPZ_I16,
	NPZ_U16,
	NPZ_I32,
	NPZ_U32,
	NPZ_I64,
	NPZ_U64,
	NPZ_F16,
	NPZ_F32,
	NPZ_F64,
	NPZ_OTHER
};

enum { NPZ_MAX_RANK = 16, NPZ_MAX_MEMBERS = 1024 };

struct npz_array {
	const char *name; /* the member's name without ".npy"; "" for a bare .npy file */
	enum npz_type type;
	char descr[16]; /* the type as the file spells it, "<f4"; cut off where longer */
	int rank;
	int64_t shape[NPZ_MAX_RANK];
};

struct npz;

/* Opens path (.npz or .npy, told apart by content). */
struct npz *npz_open(const char *path, struct err *e);
/* The same for an open file descriptor, which stays the caller's, its file position untouched; name is for messages only. It
 * must be a regular file's. */
struct npz *npz_open_fd(int fd, const char *name, struct err *e);
void npz_free(struct npz *z);

size_t npz_count(const struct npz *z);
const struct npz_array *npz_array(const struct npz *z, size_t i);
const struct npz_array *npz_find(const struct npz *z, const char *name); /* NULL if there is none */

size_t npz_type_size(enum npz_type type);      /* bytes of one element; 0 for NPZ_OTHER */
const char *npz_type_name(enum npz_type type); /* "float32", as numpy says; "other" */

/* Reads rows first .. first+rows-1 (along axis 0; a rank-0 array has one row) of a, which is one of z's, into out, C order,
 * the file's own element type, little endian. out has room for rows * (product of shape[1..]) elements. */
int npz_read_rows(struct npz *z, const struct npz_array *a, int64_t first, int64_t rows, void *out, struct err *e);

#endif
