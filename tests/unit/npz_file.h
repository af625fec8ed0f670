#ifndef TESTS_NPZ_FILE_H
#define TESTS_NPZ_FILE_H

/* Array files for tests, made byte by byte, so that they can lie. Out of memory ends the test program. */

#include "core/base/buf.h"

#include <stdint.h>

/* Appends a version 1.0 .npy: a header around dict ("{'descr': …}"), then the data. */
void npz_file_npy(struct buf *out, const char *dict, const void *data, size_t len);

/* One member of a zip. What the local header and the directory say of it are the real sizes plus these lies. */
struct npz_file_member {
	const char *name;  /* "x.npy" */
	const void *bytes; /* as they stand in the zip */
	size_t len;
	int method;          /* 0 stored, 8 deflated */
	int flags;           /* 1 encrypted */
	uint32_t unpacked;   /* size when unpacked; 0: len */
	uint32_t crc;        /* 0: computed over bytes */
	int64_t packed_lie;  /* added to what is said of the packed size */
	uint32_t offset_lie; /* added to where the directory says that the member begins */
};

/* Appends a whole zip of n members. */
void npz_file_zip(struct buf *out, const struct npz_file_member *members, size_t n);

/* Appends a raw deflate stream: of the data, in stored blocks; of len zeros, packed as far as the format can, for NULL (len is
 * a multiple of 258, plus 1). */
void npz_file_deflate(struct buf *out, const void *data, size_t len);
uint32_t npz_file_crc(const void *data, size_t len);

/* A file without a name that holds the buffer's bytes; an open descriptor. The buffer is freed. */
int npz_file_fd(struct buf *content);

/* arrays_open_fd() on it, closed. */
struct arrays;
struct err;
struct arrays *npz_file_open(struct buf *content, struct err *e);

/* A .npz with one stored array, opened. */
struct arrays *npz_file_one(const char *name, const char *dict, const void *data, size_t len, struct err *e);

#endif
