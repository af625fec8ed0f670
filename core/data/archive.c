#include "core/data/archive.h"

#include "core/base/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zip.h>

enum {
	MAX_DIRECTORY =
		1 << 20,      /* bytes of an archive's directory: a kilobyte for each member of an .npz, a hundred for each image */
	MAX_END_RECORDS = 16, /* what looks like the end of an archive's directory */
	MAX_OPEN_MEMBERS = 64,    /* each holds an inflater's window and tables */
	DEFLATE_MAX_RATIO = 1032, /* of unpacked to packed bytes, by the format */
};

struct member {
	uint64_t size; /* unpacked */
	bool stored;
	zip_file_t *f;    /* NULL while not open */
	uint64_t pos;     /* the next byte f gives */
	uint64_t touched; /* the larger, the later it was read */
};

struct archive {
	int fd; /* the caller's */
	uint64_t size;
	zip_error_t zip_error; /* the callback's */
	int64_t zip_pos;
	zip_t *zip;
	struct member *members;
	size_t count, open;
	uint64_t clock;
};

static int bad(struct err *e, const char *what)
{
	return err_set(e, ERR_CALIBRATION, "%s", what);
}

bool archive_ends(const char *name, const char *ending)
{
	size_t n = strlen(name), m = strlen(ending);
	return n >= m && strcasecmp(name + n - m, ending) == 0;
}

/* ---- bytes of the file ---- */

/* libzip reads through this instead of a FILE: pread leaves alone the position that a descriptor shares with its duplicates. */
static zip_int64_t zip_source(void *ctx, void *data, zip_uint64_t len, zip_source_cmd_t command)
{
	struct archive *z = ctx;
	ssize_t got;
	zip_stat_t *st;
	switch (command) {
	case ZIP_SOURCE_OPEN:
		z->zip_pos = 0;
		return 0;
	case ZIP_SOURCE_READ:
		got = io_pread(z->fd, data, len, (off_t)z->zip_pos);
		if (got < 0)
			zip_error_set(&z->zip_error, ZIP_ER_READ, errno);
		else
			z->zip_pos += got;
		return got;
	case ZIP_SOURCE_SEEK: {
		zip_int64_t to = zip_source_seek_compute_offset((zip_uint64_t)z->zip_pos, z->size, data, len, &z->zip_error);
		if (to < 0)
			return -1;
		z->zip_pos = to;
		return 0;
	}
	case ZIP_SOURCE_TELL:
		return z->zip_pos;
	case ZIP_SOURCE_STAT:
		st = data;
		zip_stat_init(st);
		st->size = z->size;
		st->valid = ZIP_STAT_SIZE;
		return (zip_int64_t)sizeof *st;
	case ZIP_SOURCE_ERROR:
		return zip_error_to_data(&z->zip_error, data, len);
	case ZIP_SOURCE_SUPPORTS:
		return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
		                                      ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
		                                      ZIP_SOURCE_SUPPORTS, -1);
	case ZIP_SOURCE_CLOSE:
	case ZIP_SOURCE_FREE: /* the source is part of struct arrays */
		return 0;
	default:
		zip_error_set(&z->zip_error, ZIP_ER_OPNOTSUPP, 0);
		return -1;
	}
}

/* ---- bytes of a member ---- */

static void close_member(struct archive *z, struct member *m)
{
	if (!m->f)
		return;
	(void)zip_fclose(m->f);
	m->f = NULL;
	z->open--;
}

static void close_oldest(struct archive *z)
{
	struct member *oldest = NULL;
	for (size_t i = 0; i < z->count; i++)
		if (z->members[i].f && (!oldest || z->members[i].touched < oldest->touched))
			oldest = &z->members[i];
	if (oldest)
		close_member(z, oldest);
}

static int zip_failed(struct err *e, zip_error_t *why)
{
	if (zip_error_code_zip(why) == ZIP_ER_MEMORY)
		return err_nomem(e, "unpacking");
	if (zip_error_code_zip(why) == ZIP_ER_READ && zip_error_code_system(why) != 0)
		return err_errno(e, zip_error_code_system(why), "cannot read");
	return bad(e, zip_error_strerror(why));
}

static int open_member(struct archive *z, struct member *m, struct err *e)
{
	if (z->open >= MAX_OPEN_MEMBERS)
		close_oldest(z);
	m->f = zip_fopen_index(z->zip, (zip_uint64_t)(m - z->members), ZIP_FL_UNCHANGED);
	if (!m->f)
		return zip_failed(e, zip_get_error(z->zip));
	m->pos = 0;
	z->open++;
	return 0;
}

/* The next n bytes of an open member. */
static int read_on(struct member *m, unsigned char *out, uint64_t n, struct err *e)
{
	while (n > 0) {
		zip_uint64_t want = n < (1u << 30) ? n : 1u << 30;
		zip_int64_t got = zip_fread(m->f, out, want);
		if (got < 0)
			return zip_failed(e, zip_file_get_error(m->f));
		if (got == 0)
			return err_set(e, ERR_CALIBRATION, "ends after %llu of %llu bytes", (unsigned long long)m->pos,
			               (unsigned long long)m->size);
		m->pos += (uint64_t)got;
		out += got;
		n -= (uint64_t)got;
	}
	return 0;
}

/* libzip compares checksum and size when it is asked for a byte after the last one. (Of a stored member only if it was read
 * from the beginning to the end.) */
static int check_end(struct member *m, struct err *e)
{
	char beyond;
	zip_int64_t got = zip_fread(m->f, &beyond, 1);
	if (got < 0)
		return zip_failed(e, zip_file_get_error(m->f));
	return got == 0 ? 0 : bad(e, "holds more bytes than it says");
}

/* Opens m if need be and goes to byte at: one that is stored can seek, one that is deflated only skip, and goes back by
 * beginning anew. */
static int seek_member(struct archive *z, struct member *m, uint64_t at, struct err *e)
{
	unsigned char skipped[16384];
	if (m->f && !m->stored && m->pos > at)
		close_member(z, m);
	if (!m->f && open_member(z, m, e) != 0)
		return -1;
	if (m->stored && m->pos != at) {
		if (zip_fseek(m->f, (zip_int64_t)at, SEEK_SET) != 0)
			return zip_failed(e, zip_file_get_error(m->f));
		m->pos = at;
	}
	while (m->pos < at) {
		uint64_t left = at - m->pos;
		if (read_on(m, skipped, left < sizeof skipped ? left : sizeof skipped, e) != 0)
			return -1;
	}
	return 0;
}

static int read_zipped(struct archive *z, struct member *m, uint64_t at, void *out, uint64_t n, struct err *e)
{
	m->touched = ++z->clock;
	if (seek_member(z, m, at, e) != 0 || read_on(m, out, n, e) != 0)
		goto out;
	if (m->pos < m->size)
		return 0;
	if (check_end(m, e) != 0)
		goto out;
	/* A zip_file that was at its end stays there whatever is sought. */
	close_member(z, m);
	return 0;
out: /* nor does one recover from an error */
	close_member(z, m);
	return -1;
}

/* ---- opening ---- */

static uint64_t little_endian(const unsigned char *p, int n)
{
	uint64_t v = 0;
	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

/* The size of the directory that an end-of-directory record at byte at of the file (and p in memory, with all that
 * stands before it) speaks of; 0 where libzip would not believe it either. */
static uint64_t directory_size(const struct archive *z, const unsigned char *p, uint64_t at, size_t before)
{
	unsigned char big[56];
	if (before < 20 || memcmp(p - 20, "PK\6\7", 4) != 0) {
		uint64_t size = little_endian(p + 12, 4), offset = little_endian(p + 16, 4);
		return offset + size <= at ? size : 0;
	}
	uint64_t where = little_endian(p - 20 + 8, 8);
	if (where > at || io_pread(z->fd, big, sizeof big, (off_t)where) != (ssize_t)sizeof big || memcmp(big, "PK\6\6", 4) != 0)
		return 0;
	return little_endian(big + 40, 8);
}

/* libzip reads the whole directory into memory, at several times its size, once for everything near the end of the file that
 * looks like the record which closes one. A hostile file could have it do that thousands of times over gigabytes, so that both
 * are limited before libzip sees the file. */
static int check_directory(const struct archive *z, struct err *e)
{
	enum { TAIL = 65535 + 22 + 20 };
	size_t n = z->size < TAIL ? (size_t)z->size : TAIL;
	uint64_t at = z->size - n;
	int records = 0, rc = -1;
	unsigned char *tail = malloc(n);
	if (!tail)
		return err_nomem(e, "an archive's directory");
	if (io_pread(z->fd, tail, n, (off_t)at) != (ssize_t)n) {
		err_set(e, ERR_IO, "cannot read the archive's directory");
		goto out;
	}
	for (size_t i = 0; i + 22 <= n; i++) {
		if (memcmp(tail + i, "PK\5\6", 4) != 0)
			continue;
		if (++records > MAX_END_RECORDS || directory_size(z, tail + i, at + i, i) > MAX_DIRECTORY) {
			bad(e, "the archive's directory is too large");
			goto out;
		}
	}
	rc = 0;
out:
	free(tail);
	return rc;
}

static int open_zip(struct archive *z, struct err *e)
{
	zip_error_t why;
	if (check_directory(z, e) != 0)
		return -1;
	zip_error_init(&why);
	zip_source_t *source = zip_source_function_create(zip_source, z, &why);
	if (source)
		z->zip = zip_open_from_source(source, ZIP_RDONLY, &why);
	if (!z->zip) {
		zip_failed(e, &why);
		zip_source_free(source);
	}
	zip_error_fini(&why);
	return z->zip ? 0 : -1;
}

struct archive *archive_open(int fd, uint64_t size, struct err *e)
{
	struct archive *z = calloc(1, sizeof *z);
	if (!z) {
		err_nomem(e, "an archive");
		return NULL;
	}
	zip_error_init(&z->zip_error);
	z->fd = fd;
	z->size = size;
	zip_int64_t entries = open_zip(z, e) == 0 ? zip_get_num_entries(z->zip, ZIP_FL_UNCHANGED) : -1;
	if (entries > ARCHIVE_MAX_MEMBERS)
		err_set(e, ERR_CALIBRATION, "has more than %d members", ARCHIVE_MAX_MEMBERS);
	else if (entries >= 0 && !(z->members = calloc((size_t)entries + 1, sizeof *z->members)))
		err_nomem(e, "an archive");
	else if (entries >= 0) {
		z->count = (size_t)entries;
		return z;
	}
	archive_free(z);
	return NULL;
}

void archive_free(struct archive *z)
{
	if (!z)
		return;
	for (size_t i = 0; z->members && i < z->count; i++)
		close_member(z, &z->members[i]);
	if (z->zip)
		zip_discard(z->zip);
	zip_error_fini(&z->zip_error);
	free(z->members);
	free(z);
}

size_t archive_count(const struct archive *z)
{
	return z->count;
}

const char *archive_name(const struct archive *z, size_t i)
{
	const char *name = zip_get_name(z->zip, (zip_uint64_t)i, 0);
	return name ? name : "";
}

/* What the archive's directory says of a member. */
int archive_size(struct archive *z, size_t i, uint64_t *size, struct err *e)
{
	const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
	struct member *m = &z->members[i];
	zip_stat_t st;
	if (zip_stat_index(z->zip, (zip_uint64_t)i, ZIP_FL_UNCHANGED, &st) != 0)
		return zip_failed(e, zip_get_error(z->zip));
	if ((st.valid & needed) != needed)
		return bad(e, "its entry in the archive is not complete");
	if (st.encryption_method != ZIP_EM_NONE)
		return bad(e, "is encrypted");
	if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
		return err_set(e, ERR_CALIBRATION, "is compressed with method %d; only stored and deflated members are read",
		               st.comp_method);
	m->stored = st.comp_method == ZIP_CM_STORE;
	m->size = st.size;
	if (st.comp_size > z->size || (m->stored && st.size != st.comp_size))
		return bad(e, "declares more bytes than the file has");
	if (st.size / DEFLATE_MAX_RATIO > st.comp_size)
		return bad(e, "declares more bytes than can be unpacked from it");
	*size = st.size;
	return 0;
}

int archive_read(struct archive *z, size_t i, uint64_t at, void *out, uint64_t n, struct err *e)
{
	return read_zipped(z, &z->members[i], at, out, n, e);
}
