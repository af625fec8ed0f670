#include "server/cli/cli_files.h"

#include "core/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* dir and what is missing above it, from the top. Notes the first that was not there. */
static int make_folders(struct cli_files *f, struct err *e)
{
	size_t len = strlen(f->dir);
	for (size_t at = 1; at <= len; at++) {
		char cut = f->dir[at];
		if (cut != '/' && cut != '\0')
			continue;
		f->dir[at] = '\0';
		int failed = mkdir(f->dir, 0777) ? errno : 0;
		if (failed && failed != EEXIST)
			return err_errno(e, failed, "%s", f->dir);
		if (!failed && !f->made)
			f->made = at;
		f->dir[at] = cut;
	}
	return 0;
}

int cli_files_open(struct cli_files *f, const char *dir, struct err *e)
{
	struct stat st;
	size_t len = strlen(dir);
	while (len > 1 && dir[len - 1] == '/')
		len--;
	*f = (struct cli_files){0};
	if (len == 0 || len > PATH_MAX - 64)
		return err_set(e, ERR_NOT_FOUND, "the folder's name is %s", len ? "too long" : "empty");
	f->dir = strndup(dir, len);
	if (!f->dir)
		return err_nomem(e, "the folder's name");
	if (make_folders(f, e))
		return -1;
	if (stat(f->dir, &st) || !S_ISDIR(st.st_mode))
		return err_set(e, ERR_IO, "%s: not a folder", f->dir);
	return access(f->dir, W_OK) ? err_errno(e, errno, "%s", f->dir) : 0;
}

static void path_of(const struct cli_files *f, const char *name, bool temporary, char out[PATH_MAX])
{
	(void)snprintf(out, PATH_MAX, temporary ? "%s/.%s.part" : "%s/%s", f->dir, name);
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
	int rc = io_write(fd, content->data, content->len) || fsync(fd) ? err_errno(e, errno, "%s", path) : 0;
	if (close(fd) && !rc)
		rc = err_errno(e, errno, "%s", path);
	return rc;
}

/* A folder of a file's name would be in its way when others have their names already. */
static int check_places(const struct cli_files *f, struct err *e)
{
	char path[PATH_MAX];
	struct stat st;
	for (int i = 0; i < f->n; i++) {
		path_of(f, f->names[i], false, path);
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
			return err_errno(e, EISDIR, "%s", path);
	}
	return 0;
}

int cli_files_keep(struct cli_files *f, struct err *e)
{
	char from[PATH_MAX], to[PATH_MAX];
	if (check_places(f, e))
		return -1;
	for (int i = 0; i < f->n; i++) {
		path_of(f, f->names[i], true, from);
		path_of(f, f->names[i], false, to);
		if (rename(from, to)) {
			err_errno(e, errno, "%s", to);
			while (i-- > 0) {
				path_of(f, f->names[i], false, to);
				(void)unlink(to);
			}
			return -1;
		}
	}
	f->made = 0;
	return 0;
}

/* Removes the folders that were made, from the bottom. */
static void remove_folders(const struct cli_files *f)
{
	for (size_t at = strlen(f->dir); f->made && at >= f->made; at--)
		if (f->dir[at] == '/' || f->dir[at] == '\0') {
			f->dir[at] = '\0';
			(void)rmdir(f->dir);
		}
}

void cli_files_close(struct cli_files *f)
{
	char path[PATH_MAX];
	for (int i = 0; i < f->n; i++) {
		path_of(f, f->names[i], true, path);
		(void)unlink(path);
		free(f->names[i]);
	}
	if (f->dir)
		remove_folders(f);
	free(f->dir);
	*f = (struct cli_files){0};
}

int cli_read_file(const char *path, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	int rc = io_read_rest(fd, out) ? err_errno(e, errno, "%s", path) : 0;
	(void)close(fd);
	return !rc && buf_failed(out) ? err_nomem(e, path) : rc;
}
