#include "core/data/image_set.h"

#include "core/base/buf.h"
#include "core/base/io.h"
#include "core/data/archive.h"
#include "core/data/arrays_form.h"
#include "core/data/image.h"
#include "core/data/preprocess.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
	char *path;
	size_t index; /* in the archive */
	int height, width;
};

struct image_set {
	struct archive *zip; /* NULL: a folder */
	struct file *files;
	size_t count;
	struct preprocess how;
	int height, width; /* of a sample */
};

bool image_set_is_image(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	return name[0] != '.' && strncmp(path, "__MACOSX/", 9) != 0 &&
	       (archive_ends(name, ".jpg") || archive_ends(name, ".jpeg") || archive_ends(name, ".png"));
}

bool image_set_is_image_data(const void *bytes, size_t n)
{
	return image_known(bytes, n);
}

/* ---- which files ---- */

static int add_file(struct image_set *s, const char *path, size_t index, struct err *e)
{
	if (!arrays_is_printable(path))
		return arrays_bad(e, "holds an image with control characters in its name");
	if (s->count == IMAGE_SET_MAX_FILES)
		return err_set(e, ERR_CALIBRATION, "has more than %d images", IMAGE_SET_MAX_FILES);
	char *copy = strdup(path);
	if (!copy)
		return err_nomem(e, "a list of images");
	s->files[s->count++] = (struct file){.path = copy, .index = index};
	return 0;
}

static int list_archive(struct arrays *z, struct err *e)
{
	struct image_set *s = z->own;
	s->zip = archive_open(z->fd, z->size, e);
	if (!s->zip)
		return -1;
	for (size_t i = 0; i < archive_count(s->zip); i++)
		if (image_set_is_image(archive_name(s->zip, i)) && add_file(s, archive_name(s->zip, i), i, e))
			return -1;
	return 0;
}

enum { MAX_DEPTH = 8 };

static int list_folder(struct image_set *s, int top, const char *path, int depth, struct err *e);

static int list_entry(struct image_set *s, int top, const char *path, int depth, struct err *e)
{
	struct stat st;
	if (fstatat(top, path, &st, 0) != 0)
		return err_errno(e, errno, "%s", path);
	if (S_ISDIR(st.st_mode))
		return depth < MAX_DEPTH ? list_folder(s, top, path, depth + 1, e)
		                         : err_set(e, ERR_CALIBRATION, "%s: the folders are more than %d deep", path, MAX_DEPTH);
	return S_ISREG(st.st_mode) && image_set_is_image(path) ? add_file(s, path, 0, e) : 0;
}

/* path is "" for the folder itself. */
static int list_folder(struct image_set *s, int top, const char *path, int depth, struct err *e)
{
	int fd = openat(top, path[0] ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0, more = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		rc = err_errno(e, errno, "%s", path[0] ? path : "the folder");
		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	for (const char *f; !rc && (more = io_next_name(d, &f)) == 1;) {
		struct buf b = BUF_INIT;
		if (f[0] == '.')
			continue;
		buf_printf(&b, "%s%s%s", path, path[0] ? "/" : "", f);
		rc = buf_failed(&b) ? err_nomem(e, "a list of images") : list_entry(s, top, b.data, depth, e);
		buf_fini(&b);
	}
	if (more < 0)
		rc = err_errno(e, errno, "%s", path[0] ? path : "the folder");
	(void)closedir(d);
	return rc;
}

static int by_path(const void *a, const void *b)
{
	const struct file *x = a, *y = b;
	return strcmp(x->path, y->path);
}

/* ---- a file's bytes ---- */

static int read_member(struct image_set *s, const struct file *f, struct buf *out, struct err *e)
{
	uint64_t size;
	if (archive_size(s->zip, f->index, &size, e))
		return -1;
	if (size > IMAGE_SET_MAX_BYTES)
		return err_set(e, ERR_CALIBRATION, "has more than %d MiB", IMAGE_SET_MAX_BYTES >> 20);
	out->data = malloc((size_t)size + 1);
	if (!out->data)
		return err_nomem(e, "an image");
	out->cap = (size_t)size + 1;
	out->len = (size_t)size;
	return size ? archive_read(s->zip, f->index, 0, out->data, size, e) : 0;
}

static int read_plain(const struct arrays *z, const struct file *f, struct buf *out, struct err *e)
{
	struct stat st;
	int fd = openat(z->fd, f->path, O_RDONLY | O_CLOEXEC), rc = 0;
	if (fd < 0 || fstat(fd, &st) != 0)
		rc = err_errno(e, errno, "cannot read");
	else if (st.st_size > IMAGE_SET_MAX_BYTES)
		rc = err_set(e, ERR_CALIBRATION, "has more than %d MiB", IMAGE_SET_MAX_BYTES >> 20);
	else if (io_read_rest(fd, out))
		rc = buf_failed(out) ? err_nomem(e, "an image") : err_errno(e, errno, "cannot read");
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

/* The caller finishes *out in any case. */
static int read_file(struct arrays *z, const struct file *f, struct buf *out, struct err *e)
{
	struct image_set *s = z->own;
	return s->zip ? read_member(s, f, out, e) : read_plain(z, f, out, e);
}

static const void *bytes_of(const struct buf *b)
{
	return b->data ? b->data : "";
}

/* ---- opening ---- */

static int look_into(struct arrays *z, struct file *f, struct err *e)
{
	struct buf b = BUF_INIT;
	struct image i;
	int rc = read_file(z, f, &b, e) || image_size(bytes_of(&b), b.len, &i, e) ? -1 : 0;
	buf_fini(&b);
	if (rc)
		return err_wrap(e, "image %.200s", f->path);
	f->height = i.height;
	f->width = i.width;
	return 0;
}

static int image_set_open(struct arrays *z, struct err *e)
{
	struct image_set *s = z->own = calloc(1, sizeof *s);
	if (!s || !(s->files = calloc(IMAGE_SET_MAX_FILES, sizeof *s->files)))
		return err_nomem(e, "a list of images");
	bool folder = z->size == 0;
	if (folder ? list_folder(s, z->fd, "", 0, e) : list_archive(z, e))
		return -1;
	if (s->count == 0)
		return arrays_bad(e, "holds no image: no file ends in .jpg, .jpeg or .png");
	qsort(s->files, s->count, sizeof *s->files, by_path);
	for (size_t i = 0; i < s->count; i++)
		if (look_into(z, &s->files[i], e))
			return -1;
	struct array *a = arrays_add(z, "images", 6, e);
	if (!a)
		return -1;
	a->type = ARRAY_IMAGE;
	(void)strcpy(a->descr, "image");
	a->rank = 1;
	a->shape[0] = (int64_t)s->count;
	return 0;
}

/* All images come out in the first one's size. */
static int common_size(struct image_set *s, struct err *e)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct file *f = &s->files[i];
		struct preprocess_size size;
		if (preprocess_size(&s->how, f->height, f->width, &size, e))
			return err_wrap(e, "image %.200s", f->path);
		if (i == 0) {
			s->height = size.height;
			s->width = size.width;
		}
		if (size.height != s->height || size.width != s->width)
			return err_set(e, ERR_CALIBRATION,
			               "image %.200s comes out with %d x %d pixels, and %.200s with %d x %d: give them one size, "
			               "with crop=… or "
			               "resize=HEIGHTxWIDTH",
			               f->path, size.height, size.width, s->files[0].path, s->height, s->width);
	}
	return 0;
}

int image_set_preprocess(struct arrays *z, const char *setting, struct err *e)
{
	struct image_set *s = z->own;
	struct array *a = &z->list[0];
	if (preprocess_read(setting, &s->how, e))
		return err_wrap(e, "preprocess");
	if (common_size(s, e))
		return -1;
	const int64_t channels = preprocess_channels(&s->how), h = s->height, w = s->width;
	bool last = s->how.layout == PREPROCESS_NHWC;
	a->type = ARRAY_F32;
	a->rank = 4;
	a->shape[1] = last ? h : channels;
	a->shape[2] = last ? w : h;
	a->shape[3] = last ? channels : w;
	return 0;
}

/* ---- rows ---- */

static int read_image(struct arrays *z, const struct file *f, float *out, struct err *e)
{
	const struct image_set *s = z->own;
	struct buf b = BUF_INIT;
	struct image i = {0};
	int rc = read_file(z, f, &b, e) || image_decode(bytes_of(&b), b.len, &i, e) ? -1 : 0;
	if (!rc && (i.height != f->height || i.width != f->width))
		rc = arrays_bad(e, "has changed while it was read");
	if (!rc)
		rc = preprocess_apply(&s->how, i.pixels, i.height, i.width, out, e);
	buf_fini(&b);
	free(i.pixels);
	return rc ? err_wrap(e, "%.200s", f->path) : 0;
}

static int image_set_read(struct arrays *z, size_t at, uint64_t first, uint64_t rows, void *out, struct err *e)
{
	const struct image_set *s = z->own;
	size_t sample = (size_t)preprocess_channels(&s->how) * (size_t)s->height * (size_t)s->width;
	(void)at;
	for (uint64_t i = 0; i < rows; i++)
		if (read_image(z, &s->files[first + i], (float *)out + i * sample, e))
			return -1;
	return 0;
}

int image_set_walk(struct arrays *z, int (*file)(void *ctx, const char *path, const void *bytes, size_t n, struct err *e),
                   void *ctx, struct err *e)
{
	const struct image_set *s = z->own;
	int rc = 0;
	for (size_t i = 0; i < s->count && !rc; i++) {
		struct buf b = BUF_INIT;
		rc = read_file(z, &s->files[i], &b, e) || file(ctx, s->files[i].path, bytes_of(&b), b.len, e) ? -1 : 0;
		buf_fini(&b);
	}
	return rc;
}

static void image_set_free(struct arrays *z)
{
	struct image_set *s = z->own;
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++)
		free(s->files[i].path);
	archive_free(s->zip);
	free(s->files);
	free(s);
}

const struct arrays_form image_set_form = {image_set_open, image_set_read, image_set_free};
