#include "npz.h"

#include "io.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

enum {
	MAX_HEADER = 65536,       /* of a .npy; numpy itself reads at most 10000 bytes unless told otherwise */
	MAX_DIRECTORY = 1 << 20,  /* bytes of an archive's directory: a kilobyte for each member */
	MAX_END_RECORDS = 16,     /* what looks like the end of an archive's directory */
	MAX_OPEN_MEMBERS = 64,    /* each holds an inflater's window and tables */
	DEFLATE_MAX_RATIO = 1032, /* of unpacked to packed bytes, by the format */
};

struct member {
	struct npz_array pub; /* first: npz_array() gives out its address */
	char *name;
	zip_uint64_t index; /* in the archive */
	uint64_t size;      /* of the .npy, header included */
	uint64_t data;      /* where the header ends */
	uint64_t row_size;  /* bytes */
	uint64_t rows;
	bool fortran, stored;

	zip_file_t *f;    /* NULL while not open */
	uint64_t pos;     /* the next byte f gives */
	uint64_t touched; /* the larger, the later it was read */
};

struct npz {
	char *name;
	int fd;
	uint64_t size;
	zip_error_t zip_error; /* the callback's */
	int64_t zip_pos;
	zip_t *zip; /* NULL for a bare .npy */
	struct member *members;
	size_t count, open;
	uint64_t clock;

	struct member *whole_of; /* the Fortran-ordered member whose data is in whole, or NULL */
	unsigned char *whole;
};

static const struct {
	const char *name, *code; /* code: numpy's letter and size, after the byte order */
	size_t size;
} types[] = {
	[NPZ_BOOL] = {"bool", "b1", 1},   [NPZ_I8] = {"int8", "i1", 1},     [NPZ_U8] = {"uint8", "u1", 1},
	[NPZ_I16] = {"int16", "i2", 2},   [NPZ_U16] = {"uint16", "u2", 2},  [NPZ_I32] = {"int32", "i4", 4},
	[NPZ_U32] = {"uint32", "u4", 4},  [NPZ_I64] = {"int64", "i8", 8},   [NPZ_U64] = {"uint64", "u8", 8},
	[NPZ_F16] = {"float16", "f2", 2}, [NPZ_F32] = {"float32", "f4", 4}, [NPZ_F64] = {"float64", "f8", 8},
	[NPZ_OTHER] = {"other", "", 0},
};

size_t npz_type_size(enum npz_type type)
{
	return types[type].size;
}

const char *npz_type_name(enum npz_type type)
{
	return types[type].name;
}

/* Text out of a file ends up in messages and on terminals. */
static bool is_printable(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

static int bad(struct err *e, const char *what)
{
	return err_set(e, ERR_CALIBRATION, "%s", what);
}

/* ---- bytes of the file ---- */

static int read_file_exactly(const struct npz *z, void *out, size_t n, uint64_t at, struct err *e)
{
	ssize_t got = io_pread(z->fd, out, n, (off_t)at);
	if (got < 0)
		return err_errno(e, errno, "cannot read");
	if ((size_t)got < n)
		return bad(e, "the file is shorter than it says");
	return 0;
}

/* libzip reads through this instead of a FILE: pread leaves alone the position that a descriptor shares with its duplicates. */
static zip_int64_t zip_source(void *ctx, void *data, zip_uint64_t len, zip_source_cmd_t command)
{
	struct npz *z = ctx;
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
	case ZIP_SOURCE_FREE: /* the source is part of struct npz */
		return 0;
	default:
		zip_error_set(&z->zip_error, ZIP_ER_OPNOTSUPP, 0);
		return -1;
	}
}

/* ---- bytes of a member ---- */

static void close_member(struct npz *z, struct member *m)
{
	if (!m->f)
		return;
	(void)zip_fclose(m->f);
	m->f = NULL;
	z->open--;
}

static void close_oldest(struct npz *z)
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

static int open_member(struct npz *z, struct member *m, struct err *e)
{
	if (z->open >= MAX_OPEN_MEMBERS)
		close_oldest(z);
	m->f = zip_fopen_index(z->zip, m->index, ZIP_FL_UNCHANGED);
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
static int seek_member(struct npz *z, struct member *m, uint64_t at, struct err *e)
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

static int read_zipped(struct npz *z, struct member *m, uint64_t at, void *out, uint64_t n, struct err *e)
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

static int read_member(struct npz *z, struct member *m, uint64_t at, void *out, uint64_t n, struct err *e)
{
	return z->zip ? read_zipped(z, m, at, out, n, e) : read_file_exactly(z, out, n, at, e);
}

/* ---- the header of a .npy: a Python literal, {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } ---- */

struct text {
	const char *p, *end;
};

static bool accept(struct text *t, const char *token)
{
	size_t n = strlen(token);
	while (t->p < t->end && strchr(" \t\r\n", *t->p) && *t->p)
		t->p++;
	if ((size_t)(t->end - t->p) < n || memcmp(t->p, token, n) != 0)
		return false;
	t->p += n;
	return true;
}

/* A quoted string without escapes; cut off to fit out. */
static bool accept_string(struct text *t, char *out, size_t room)
{
	char quote = accept(t, "'") ? '\'' : accept(t, "\"") ? '"' : '\0';
	const char *close = quote ? memchr(t->p, quote, (size_t)(t->end - t->p)) : NULL;
	if (!close || memchr(t->p, '\\', (size_t)(close - t->p)))
		return false;
	size_t len = (size_t)(close - t->p), keep = len < room ? len : room - 1;
	memcpy(out, t->p, keep);
	out[keep] = '\0';
	t->p = close + 1;
	return true;
}

/* The list of fields that describes a record; only its end is looked for. */
static bool accept_list(struct text *t)
{
	char unused[2];
	if (!accept(t, "["))
		return false;
	for (int depth = 1; depth > 0;) {
		if (accept(t, "[") || accept(t, "("))
			depth++;
		else if (accept(t, "]") || accept(t, ")"))
			depth--;
		else if (accept_string(t, unused, sizeof unused))
			continue;
		else if (t->p < t->end)
			t->p++;
		else
			return false;
	}
	return true;
}

/* "<f4": little endian, or without an order where one byte has none. */
static enum npz_type type_of(const char *descr)
{
	for (size_t i = 0; i < NPZ_OTHER; i++)
		if (strcmp(descr + 1, types[i].code) == 0 && (descr[0] == '<' || (descr[0] == '|' && types[i].size == 1)))
			return (enum npz_type)i;
	return NPZ_OTHER;
}

static int parse_descr(struct text *t, struct member *m, struct err *e)
{
	if (accept_string(t, m->pub.descr, sizeof m->pub.descr) && is_printable(m->pub.descr) && m->pub.descr[0])
		m->pub.type = type_of(m->pub.descr);
	else if (accept_list(t)) {
		(void)strcpy(m->pub.descr, "[...]");
		m->pub.type = NPZ_OTHER;
	} else
		return bad(e, "its header's \"descr\" is not understood");
	return 0;
}

static int parse_dimension(struct text *t, int64_t *out, struct err *e)
{
	const char *start = t->p;
	int64_t v = 0;
	for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *t->p - '0', &v))
			return bad(e, "a dimension is too large");
	if (t->p == start)
		return bad(e, "its header's \"shape\" is not understood");
	(void)accept(t, "L"); /* Python 2 wrote long integers so */
	*out = v;
	return 0;
}

static int parse_shape(struct text *t, struct member *m, struct err *e)
{
	bool comma = accept(t, "("), closed = accept(t, ")");
	while (comma && !closed) {
		if (m->pub.rank == NPZ_MAX_RANK)
			return err_set(e, ERR_CALIBRATION, "has more than %d dimensions", NPZ_MAX_RANK);
		if (parse_dimension(t, &m->pub.shape[m->pub.rank++], e) != 0)
			return -1;
		comma = accept(t, ",");
		closed = accept(t, ")");
	}
	return closed ? 0 : bad(e, "its header's \"shape\" is not understood");
}

static int parse_header(struct text t, struct member *m, struct err *e)
{
	enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
	int seen = 0;
	char key[16];
	if (!accept(&t, "{"))
		return bad(e, "its header is not understood");
	while (!accept(&t, "}")) {
		if (!accept_string(&t, key, sizeof key) || !accept(&t, ":"))
			return bad(e, "its header is not understood");
		int what = !strcmp(key, "descr")           ? DESCR
		           : !strcmp(key, "fortran_order") ? ORDER
		           : !strcmp(key, "shape")         ? SHAPE
		                                           : 0;
		if (!what || (seen & what))
			return bad(e, "its header has an unknown key, or one twice");
		seen |= what;
		if (what == DESCR && parse_descr(&t, m, e) != 0)
			return -1;
		if (what == SHAPE && parse_shape(&t, m, e) != 0)
			return -1;
		if (what == ORDER && !accept(&t, "False") && !(m->fortran = accept(&t, "True")))
			return bad(e, "its header's \"fortran_order\" is not understood");
		if (!accept(&t, ",") && (t.p >= t.end || *t.p != '}'))
			return bad(e, "its header is not understood");
	}
	(void)accept(&t, "");
	if (t.p != t.end || seen != (DESCR | ORDER | SHAPE))
		return bad(e, "its header is not complete");
	return 0;
}

/* Rows and bytes a row; the header's sizes must be exactly those of the bytes that are there. */
static int check_sizes(struct member *m, struct err *e)
{
	uint64_t bytes = npz_type_size(m->pub.type), whole;
	int varying = 0; /* dimensions that say something about order */
	m->rows = m->pub.rank ? (uint64_t)m->pub.shape[0] : 1;
	for (int i = 1; i < m->pub.rank; i++)
		if (__builtin_mul_overflow(bytes, (uint64_t)m->pub.shape[i], &bytes))
			return bad(e, "declares more bytes than can be");
	for (int i = 0; i < m->pub.rank; i++)
		varying += m->pub.shape[i] != 1;
	m->fortran = m->fortran && varying > 1;
	m->row_size = bytes;
	if (m->pub.type == NPZ_OTHER)
		return 0;
	if (__builtin_mul_overflow(bytes, m->rows, &whole) || whole > INT64_MAX)
		return bad(e, "declares more bytes than can be");
	if (whole != m->size - m->data)
		return err_set(e, ERR_CALIBRATION, "declares %llu bytes of data and has %llu", (unsigned long long)whole,
		               (unsigned long long)(m->size - m->data));
	return 0;
}

static int read_header(struct npz *z, struct member *m, struct err *e)
{
	unsigned char start[12] = {0};
	char *text = NULL;
	int rc = -1;
	if (m->size < 10)
		return bad(e, "is too short for a .npy file");
	if (read_member(z, m, 0, start, 10, e) != 0)
		return -1;
	if (memcmp(start, "\x93NUMPY", 6) != 0)
		return bad(e, "is no .npy file");
	if (start[6] < 1 || start[6] > 3 || start[7] != 0)
		return err_set(e, ERR_CALIBRATION, "is of .npy version %d.%d, which is unknown", start[6], start[7]);
	m->data = start[6] == 1 ? 10 : 12;
	if (m->data == 12 && (m->size < 12 || read_member(z, m, 10, start + 10, 2, e) != 0))
		return m->size < 12 ? bad(e, "is too short for a .npy file") : -1;
	uint32_t len = start[8] | (uint32_t)start[9] << 8 | (uint32_t)start[10] << 16 | (uint32_t)start[11] << 24;
	if (len > MAX_HEADER || len > m->size - m->data)
		return err_set(e, ERR_CALIBRATION, "has a header of %u bytes, which is too long", len);
	text = malloc(len + 1);
	if (!text)
		return err_nomem(e, "a header");
	if (read_member(z, m, m->data, text, len, e) != 0)
		goto out;
	m->data += len;
	if (parse_header((struct text){text, text + len}, m, e) != 0)
		goto out;
	rc = check_sizes(m, e);
out:
	free(text);
	return rc;
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
static uint64_t directory_size(const struct npz *z, const unsigned char *p, uint64_t at, size_t before)
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
static int check_directory(const struct npz *z, struct err *e)
{
	enum { TAIL = 65535 + 22 + 20 };
	size_t n = z->size < TAIL ? (size_t)z->size : TAIL;
	uint64_t at = z->size - n;
	int records = 0, rc = -1;
	unsigned char *tail = malloc(n);
	if (!tail)
		return err_nomem(e, "an archive's directory");
	if (read_file_exactly(z, tail, n, at, e) != 0)
		goto out;
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

static int open_zip(struct npz *z, struct err *e)
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

/* Fills in what the archive's directory knows of member index. */
static int stat_member(struct npz *z, struct member *m, zip_uint64_t index, struct err *e)
{
	const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
	zip_stat_t st;
	if (zip_stat_index(z->zip, index, ZIP_FL_UNCHANGED, &st) != 0)
		return zip_failed(e, zip_get_error(z->zip));
	if ((st.valid & needed) != needed)
		return bad(e, "its entry in the archive is not complete");
	if (st.encryption_method != ZIP_EM_NONE)
		return bad(e, "is encrypted");
	if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
		return err_set(e, ERR_CALIBRATION, "is compressed with method %d; only stored and deflated members are read",
		               st.comp_method);
	m->index = index;
	m->stored = st.comp_method == ZIP_CM_STORE;
	m->size = st.size;
	if (st.comp_size > z->size || (m->stored && st.size != st.comp_size))
		return bad(e, "declares more bytes than the file has");
	if (st.size / DEFLATE_MAX_RATIO > st.comp_size)
		return bad(e, "declares more bytes than can be unpacked from it");
	return 0;
}

static int add_member(struct npz *z, zip_uint64_t index, const char *file_name, size_t len, struct err *e)
{
	char *name = strndup(file_name, len);
	if (!name)
		return err_nomem(e, "a member's name");
	bool clean = is_printable(name), twice = npz_find(z, name) != NULL;
	if (!clean || twice) {
		err_set(e, ERR_CALIBRATION, "array \"%.200s\" %s", clean ? name : "?",
		        twice ? "is there twice" : "has control characters in its name");
		free(name);
		return -1;
	}
	struct member *m = &z->members[z->count++];
	m->pub.name = m->name = name;
	if (stat_member(z, m, index, e) != 0 || read_header(z, m, e) != 0)
		return err_wrap(e, "array \"%.200s\"", m->name);
	return 0;
}

static int list_zip(struct npz *z, struct err *e)
{
	zip_int64_t entries = zip_get_num_entries(z->zip, ZIP_FL_UNCHANGED);
	if (entries > NPZ_MAX_MEMBERS)
		return err_set(e, ERR_CALIBRATION, "has more than %d members", NPZ_MAX_MEMBERS);
	z->members = calloc(entries ? (size_t)entries : 1, sizeof *z->members);
	if (!z->members)
		return err_nomem(e, "a list of arrays");
	for (zip_int64_t i = 0; i < entries; i++) {
		const char *name = zip_get_name(z->zip, (zip_uint64_t)i, 0);
		if (!name)
			return zip_failed(e, zip_get_error(z->zip));
		size_t len = strlen(name);
		if (len >= 4 && strcmp(name + len - 4, ".npy") == 0 && add_member(z, (zip_uint64_t)i, name, len - 4, e) != 0)
			return -1;
	}
	return 0;
}

static int list_npy(struct npz *z, struct err *e)
{
	z->members = calloc(1, sizeof *z->members);
	if (!z->members)
		return err_nomem(e, "a list of arrays");
	struct member *m = &z->members[0];
	m->pub.name = "";
	m->size = z->size;
	z->count = 1;
	return read_header(z, m, e);
}

static int open_contents(struct npz *z, struct err *e)
{
	unsigned char magic[6];
	struct stat st;
	if (fstat(z->fd, &st) != 0)
		return err_errno(e, errno, "cannot read");
	if (!S_ISREG(st.st_mode))
		return bad(e, "is not a regular file");
	z->size = (uint64_t)st.st_size;
	ssize_t got = io_pread(z->fd, magic, sizeof magic, 0);
	if (got < 0)
		return err_errno(e, errno, "cannot read");
	if (got == (ssize_t)sizeof magic && memcmp(magic, "\x93NUMPY", 6) == 0)
		return list_npy(z, e);
	if (got == (ssize_t)sizeof magic && (memcmp(magic, "PK\3\4", 4) == 0 || memcmp(magic, "PK\5\6", 4) == 0))
		return open_zip(z, e) == 0 ? list_zip(z, e) : -1;
	return bad(e, "is neither a .npz nor a .npy file");
}

struct npz *npz_open_fd(int fd, const char *name, struct err *e)
{
	struct npz *z = calloc(1, sizeof *z);
	if (!z) {
		err_nomem(e, "an array file");
		return NULL;
	}
	zip_error_init(&z->zip_error);
	z->name = strdup(name);
	z->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (!z->name)
		err_nomem(e, "an array file");
	else if (z->fd < 0)
		err_errno(e, errno, "%s", name);
	else if (open_contents(z, e) != 0)
		err_wrap(e, "%s", name);
	else
		return z;
	npz_free(z);
	return NULL;
}

struct npz *npz_open(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_errno(e, errno, "cannot open %s", path);
		return NULL;
	}
	struct npz *z = npz_open_fd(fd, path, e);
	(void)close(fd);
	return z;
}

void npz_free(struct npz *z)
{
	if (!z)
		return;
	for (size_t i = 0; i < z->count; i++) {
		close_member(z, &z->members[i]);
		free(z->members[i].name);
	}
	if (z->zip)
		zip_discard(z->zip);
	if (z->fd >= 0)
		(void)close(z->fd);
	zip_error_fini(&z->zip_error);
	free(z->members);
	free(z->whole);
	free(z->name);
	free(z);
}

size_t npz_count(const struct npz *z)
{
	return z->count;
}

const struct npz_array *npz_array(const struct npz *z, size_t i)
{
	assert(i < z->count);
	return &z->members[i].pub;
}

const struct npz_array *npz_find(const struct npz *z, const char *name)
{
	for (size_t i = 0; i < z->count; i++)
		if (strcmp(z->members[i].pub.name, name) == 0)
			return &z->members[i].pub;
	return NULL;
}

/* ---- rows ---- */

/* Makes m's data the one that is in memory whole. */
static int load_whole(struct npz *z, struct member *m, struct err *e)
{
	if (z->whole_of == m)
		return 0;
	free(z->whole);
	z->whole_of = NULL;
	z->whole = malloc(m->size - m->data);
	if (!z->whole)
		return err_nomem(e, "a Fortran-ordered array");
	if (read_member(z, m, m->data, z->whole, m->size - m->data, e) != 0)
		return -1;
	z->whole_of = m;
	return 0;
}

/* out[r][j…] = in[first + r, j…], where in's first index varies fastest. The elements j… of a row are walked in out's order; at
 * is where in has the one of row first. */
static void gather_rows(const struct member *m, const unsigned char *in, uint64_t first, uint64_t rows, unsigned char *out)
{
	const int64_t *shape = m->pub.shape;
	size_t size = npz_type_size(m->pub.type);
	uint64_t step[NPZ_MAX_RANK] = {1}, index[NPZ_MAX_RANK] = {0}, at = first;
	for (int d = 1; d < m->pub.rank; d++)
		step[d] = step[d - 1] * (uint64_t)shape[d - 1];
	for (uint64_t j = 0; j < m->row_size / size; j++) {
		for (uint64_t r = 0; r < rows; r++)
			memcpy(out + r * m->row_size + j * size, in + (at + r) * size, size);
		for (int d = m->pub.rank - 1; d > 0; d--) {
			at += step[d];
			if (++index[d] < (uint64_t)shape[d])
				break;
			at -= step[d] * (uint64_t)shape[d];
			index[d] = 0;
		}
	}
}

int npz_read_rows(struct npz *z, const struct npz_array *a, int64_t first, int64_t rows, void *out, struct err *e)
{
	struct member *m = &z->members[(const struct member *)(const void *)a - z->members];
	int rc = 0;
	if (m->pub.type == NPZ_OTHER)
		rc = err_set(e, ERR_CALIBRATION, "is of type %s, which cannot be read", m->pub.descr);
	else if (first < 0 || rows < 0 || (uint64_t)first > m->rows || (uint64_t)rows > m->rows - (uint64_t)first)
		rc = err_set(e, ERR_INTERNAL, "does not have %lld rows from %lld on", (long long)rows, (long long)first);
	else if (rows == 0 || m->row_size == 0)
		rc = 0;
	else if (!m->fortran)
		rc = read_member(z, m, m->data + (uint64_t)first * m->row_size, out, (uint64_t)rows * m->row_size, e);
	else if ((rc = load_whole(z, m, e)) == 0)
		gather_rows(m, z->whole, (uint64_t)first, (uint64_t)rows, out);
	return rc == 0 ? 0 : err_wrap(e, "%s%s%.200s%s", z->name, z->zip ? ", array \"" : "", a->name, z->zip ? "\"" : "");
}
