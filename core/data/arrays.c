#include "core/data/arrays_form.h"

#include "core/base/io.h"
#include "core/data/archive.h"
#include "core/data/image_set.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- for the forms ---- */

int arrays_bad(struct err *e, const char *what)
{
	return err_set(e, ERR_CALIBRATION, "%s", what);
}

bool arrays_is_printable(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

int arrays_read_file(const struct arrays *z, void *out, size_t n, uint64_t at, struct err *e)
{
	ssize_t got = io_pread(z->fd, out, n, (off_t)at);
	if (got < 0)
		return err_errno(e, errno, "cannot read");
	return (size_t)got < n ? arrays_bad(e, "the file is shorter than it says") : 0;
}

static int grow(struct arrays *z, struct err *e)
{
	size_t room = z->room ? 2 * z->room : 8;
	struct array *list = realloc(z->list, room * sizeof *list);
	if (!list)
		return err_nomem(e, "a list of arrays");
	z->list = list;
	z->room = room;
	return 0;
}

struct array *arrays_add(struct arrays *z, const char *name, size_t len, struct err *e)
{
	char *copy = strndup(name, len);
	if (!copy) {
		err_nomem(e, "an array's name");
		return NULL;
	}
	bool clean = arrays_is_printable(copy), twice = arrays_find(z, copy) != NULL;
	if (!clean || twice)
		err_set(e, ERR_CALIBRATION, "array \"%.200s\" %s", clean ? copy : "?",
		        twice ? "is there twice" : "has control characters in its name");
	if (!clean || twice || (z->count == z->room && grow(z, e))) {
		free(copy);
		return NULL;
	}
	struct array *a = &z->list[z->count++];
	*a = (struct array){.name = copy};
	return a;
}

/* ---- opening ---- */

static bool is_tar(const unsigned char *head, size_t n)
{
	return n >= 265 && memcmp(head + 257, "ustar", 5) == 0;
}

static bool is_zip(const unsigned char *head, size_t n)
{
	return n >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0);
}

/* The length of the header, and a brace. */
static bool is_safetensors(const unsigned char *head, size_t n)
{
	return n >= 10 && head[8] == '{' && memcmp(head + 4, "\0\0\0\0", 4) == 0;
}

static const struct arrays_form *zip_form(int fd, uint64_t size, struct err *e)
{
	struct archive *a = archive_open(fd, size, e);
	const struct arrays_form *form = a ? &npz_form : NULL;
	bool arrays = false, images = false;
	for (size_t i = 0; a && i < archive_count(a); i++) {
		const char *name = archive_name(a, i);
		arrays = arrays || archive_ends(name, ".npy");
		images = images || image_set_is_image(name);
	}
	if (images && !arrays)
		form = &image_set_form;
	archive_free(a);
	return form;
}

static const struct arrays_form *form_of(const struct arrays *z, struct err *e)
{
	unsigned char head[512];
	ssize_t got = io_pread(z->fd, head, sizeof head, 0);
	size_t n = got < 0 ? 0 : (size_t)got;
	if (got < 0)
		err_errno(e, errno, "cannot read");
	else if (n >= 6 && memcmp(head, "\x93NUMPY", 6) == 0)
		return &npy_form;
	else if (is_zip(head, n))
		return zip_form(z->fd, z->size, e);
	else if (is_tar(head, n))
		return &test_sets_form;
	else if (is_safetensors(head, n))
		return &safetensors_form;
	else if (n >= 2 && head[0] == 0x1f && head[1] == 0x8b)
		arrays_bad(e, "is compressed with gzip: unpack it first (gunzip), and give the .tar that is in it");
	else if (image_set_is_image_data(head, n))
		arrays_bad(e, "is a single image: put your images into a folder, or a .zip");
	else
		arrays_bad(e, "is no file of arrays: neither .npz, .npy nor .safetensors, nor a .tar of ONNX test sets, nor a .zip "
		              "of images");
	return NULL;
}

static int open_contents(struct arrays *z, struct err *e)
{
	struct stat st;
	if (fstat(z->fd, &st) != 0)
		return err_errno(e, errno, "cannot read");
	if (S_ISDIR(st.st_mode))
		z->form = &image_set_form;
	else if (!S_ISREG(st.st_mode))
		return arrays_bad(e, "is not a regular file");
	z->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	if (!z->form)
		z->form = form_of(z, e);
	return z->form ? z->form->open(z, e) : -1;
}

struct arrays *arrays_open_fd(int fd, const char *name, struct err *e)
{
	struct arrays *z = calloc(1, sizeof *z);
	if (!z) {
		err_nomem(e, "an array file");
		return NULL;
	}
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
	arrays_free(z);
	return NULL;
}

struct arrays *arrays_open(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_errno(e, errno, "cannot open %s", path);
		return NULL;
	}
	struct arrays *z = arrays_open_fd(fd, path, e);
	(void)close(fd);
	return z;
}

void arrays_free(struct arrays *z)
{
	if (!z)
		return;
	if (z->form)
		z->form->free(z);
	for (size_t i = 0; i < z->count; i++)
		free((void *)(uintptr_t)z->list[i].name);
	if (z->fd >= 0)
		(void)close(z->fd);
	free(z->list);
	free(z->name);
	free(z);
}

/* ---- use ---- */

size_t arrays_count(const struct arrays *z)
{
	return z->count;
}

const struct array *arrays_at(const struct arrays *z, size_t i)
{
	assert(i < z->count);
	return &z->list[i];
}

const struct array *arrays_find(const struct arrays *z, const char *name)
{
	for (size_t i = 0; i < z->count; i++)
		if (strcmp(z->list[i].name, name) == 0)
			return &z->list[i];
	return NULL;
}

bool arrays_are_numbered(const struct arrays *z)
{
	return z->form == &test_sets_form;
}

bool arrays_are_images(const struct arrays *z)
{
	return z->form == &image_set_form;
}

int arrays_preprocess(struct arrays *z, const char *line, struct err *e)
{
	if (!line)
		return 0;
	if (!arrays_are_images(z))
		return err_set(e, ERR_BAD_PARAM, "preprocess is for images, and %s holds arrays: leave it out", z->name);
	return image_set_preprocess(z, line, e) ? err_wrap(e, "%s", z->name) : 0;
}

int arrays_read_rows(struct arrays *z, const struct array *a, int64_t first, int64_t rows, void *out, struct err *e)
{
	uint64_t row = 0, all = array_rows(a);
	int rc = 0;
	if (array_type_size(a->type) == 0)
		rc = err_set(e, ERR_CALIBRATION, "is of type %s, which cannot be read", a->descr);
	else if (first < 0 || rows < 0 || (uint64_t)first > all || (uint64_t)rows > all - (uint64_t)first)
		rc = err_set(e, ERR_INTERNAL, "does not have %lld rows from %lld on", (long long)rows, (long long)first);
	else if (array_row_bytes(a, &row) && row > 0 && rows > 0)
		rc = z->form->read(z, (size_t)(a - z->list), (uint64_t)first, (uint64_t)rows, out, e);
	bool bare = z->form == &npy_form;
	return rc == 0 ? 0 : err_wrap(e, "%s%s%.200s%s", z->name, bare ? "" : ", array \"", a->name, bare ? "" : "\"");
}
