#include "server/store/intake.h"

#include "server/store/blob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct file {
	char name[101], media_type[101];
	struct part *part;
};

struct intake {
	struct blobs *blobs;
	struct file files[INTAKE_MAX_FILES];
	size_t n;
	bool open; /* the last file is not ended yet */
};

struct intake *intake_new(struct blobs *b, struct err *e)
{
	struct intake *i = calloc(1, sizeof *i);
	if (!i)
		err_nomem(e, "the engine's files");
	else
		i->blobs = b;
	return i;
}

/* Letters, digits and a few signs, not beginning with a dot; fits the fields above. */
static bool is_plain(const char *s, const char *signs)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t n = s ? strlen(s) : 0;
	for (size_t i = 0; i < n; i++)
		if (!strchr(letters, s[i]) && !strchr(signs, s[i]))
			return false;
	return n > 0 && n <= 100 && s[0] != '.';
}

int intake_begin(struct intake *i, const char *name, const char *media_type, struct err *e)
{
	if (i->open || i->n == INTAKE_MAX_FILES || !is_plain(name, "._-") || !is_plain(media_type, "./+-"))
		return err_set(e, ERR_INTERNAL, "the engine sent a file that was not expected");
	for (size_t k = 0; k < i->n; k++)
		if (strcmp(i->files[k].name, name) == 0)
			return err_set(e, ERR_INTERNAL, "the engine sent %s twice", name);
	struct file *f = &i->files[i->n];
	f->part = part_new(i->blobs, e);
	if (!f->part)
		return -1;
	(void)snprintf(f->name, sizeof f->name, "%s", name);
	(void)snprintf(f->media_type, sizeof f->media_type, "%s", media_type);
	i->n++;
	i->open = true;
	return 0;
}

int intake_add(struct intake *i, const void *data, size_t len, struct err *e)
{
	if (!i->open)
		return err_set(e, ERR_INTERNAL, "the engine sent bytes without a file");
	return part_add(i->files[i->n - 1].part, data, len, e);
}

int intake_end(struct intake *i, struct err *e)
{
	if (!i->open)
		return err_set(e, ERR_INTERNAL, "the engine ended a file that it had not begun");
	i->open = false;
	return part_end(i->files[i->n - 1].part, e);
}

int intake_files(struct intake *i, struct store_artifact files[INTAKE_MAX_FILES], size_t *n, struct err *e)
{
	if (i->open)
		return err_set(e, ERR_INTERNAL, "the engine did not end its last file");
	for (size_t k = 0; k < i->n; k++) {
		if (part_sync(i->files[k].part, e) < 0)
			return -1;
		files[k] = (struct store_artifact){i->files[k].name, i->files[k].media_type, i->files[k].part};
	}
	*n = i->n;
	return 0;
}

void intake_free(struct intake *i)
{
	if (!i)
		return;
	for (size_t k = 0; k < i->n; k++)
		part_free(i->files[k].part);
	free(i);
}
