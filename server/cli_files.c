#include "cli_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_parents(const char *dir, struct err *e)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path)
		return err_set(e, ERR_NOT_FOUND, "the folder's name is too long");
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(path, 0777) && errno != EEXIST)
			return err_errno(e, errno, "%s", path);
		*p = '/';
	}
	return 0;
}

int cli_files_open(struct cli_files *f, const char *dir, struct err *e)
{
	struct stat st;
	*f = (struct cli_files){.dir = dir};
	if (make_parents(dir, e))
		return -1;
	if (mkdir(dir, 0777) == 0) {
		f->made_dir = true;
		return 0;
	}
	if (errno != EEXIST)
		return err_errno(e, errno, "%s", dir);
	if (stat(dir, &st) || !S_ISDIR(st.st_mode))
		return err_set(e, ERR_IO, "%s: not a folder", dir);
	return access(dir, W_OK) ? err_errno(e, errno, "%s", dir) : 0;
}

static void path_of(const struct cli_files *f, const char *name, bool temporary, char out[PATH_MAX])
{
	(void)snprintf(out, PATH_MAX, temporary ? "%s/.%s.part" : "%s/%s", f->dir, name);
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

int cli_files_add(struct cli_files *f, const char *name, const struct buf *content, struct err *e)
{
	char path[PATH_MAX];
	if (f->n == sizeof f->names / sizeof *f->names)
		return err_set(e, ERR_INTERNAL, "too many output files");
	f->names[f->n] = strdup(name);
	if (!f->names[f->n])
		return err_nomem(e, "output files");
	path_of(f, f->names[f->n++], true, path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	int rc = write_all(fd, content->data, content->len) || fsync(fd) ? err_errno(e, errno, "%s", path) : 0;
	if (close(fd) && !rc)
		rc = err_errno(e, errno, "%s", path);
	return rc;
}

int cli_files_keep(struct cli_files *f, struct err *e)
{
	char from[PATH_MAX], to[PATH_MAX];
	for (int i = 0; i < f->n; i++) {
		path_of(f, f->names[i], true, from);
		path_of(f, f->names[i], false, to);
		if (rename(from, to))
			return err_errno(e, errno, "%s", to);
	}
	f->made_dir = false;
	return 0;
}

void cli_files_close(struct cli_files *f)
{
	char path[PATH_MAX];
	for (int i = 0; i < f->n; i++) {
		path_of(f, f->names[i], true, path);
		(void)unlink(path);
		free(f->names[i]);
	}
	if (f->made_dir)
		(void)rmdir(f->dir);
	*f = (struct cli_files){0};
}

int cli_read_file(const char *path, struct buf *out, struct err *e)
{
	char chunk[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = err_errno(e, errno, "%s", path);
		if (n <= 0)
			break;
		buf_add(out, chunk, (size_t)n);
	}
	(void)close(fd);
	return !rc && buf_failed(out) ? err_nomem(e, path) : rc;
}
