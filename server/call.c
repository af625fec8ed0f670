#include "server/call.h"

#include "api/backend.h"
#include "server/blob.h"
#include "server/child.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void call_init(struct call *c, const char *mode)
{
	memset(c, 0, sizeof *c);
	json_out_init(&c->w, &c->text, 0);
	json_out_object(&c->w, NULL);
	json_out_string(&c->w, "mode", mode);
	json_out_integer(&c->w, "parent", getpid());
}

/* Takes fd and writes the number that it will have in the child. */
static int add(struct call *c, const char *key, int fd, struct err *e)
{
	if (fd < 0)
		return -1; /* opening it failed, and *e says why */
	int *more = realloc(c->fds, (c->nfds + 1) * sizeof *more);
	if (!more) {
		(void)close(fd);
		return err_nomem(e, "a request to the engine");
	}
	c->fds = more;
	json_out_integer(&c->w, key, CHILD_FIRST_FILE + (int64_t)c->nfds);
	more[c->nfds++] = fd;
	return 0;
}

int call_model(struct call *c, int fd, struct err *e)
{
	return add(c, "model", fd, e);
}

int call_calibration(struct call *c, int fd, struct err *e)
{
	return add(c, "calibration", fd, e);
}

int call_files(struct call *c, const struct blobs *b, const struct api_model *m, const char *extra_name, int extra, struct err *e)
{
	int rc = 0;
	json_out_array(&c->w, "files");
	for (size_t i = 0; i < m->nfiles && rc == 0; i++) {
		bool is_extra = extra >= 0 && strcmp(m->files[i].name, extra_name) == 0;
		if (!is_extra && !m->files[i].present)
			continue;
		json_out_object(&c->w, NULL);
		json_out_string(&c->w, "name", m->files[i].name);
		rc = add(c, "fd", is_extra ? extra : blob_open(b, m->files[i].sha256, NULL, e), e);
		if (is_extra)
			extra = -1;
		json_out_end_object(&c->w);
	}
	json_out_end_array(&c->w);
	if (extra >= 0)
		(void)close(extra);
	return rc;
}

void call_params(struct call *c, const struct params *p)
{
	params_to_json(p, &c->w, "params");
}

int call_end(struct call *c, struct err *e)
{
	json_out_end_object(&c->w);
	return buf_failed(&c->text) ? err_nomem(e, "a request to the engine") : 0;
}

void call_fini(struct call *c)
{
	for (size_t i = 0; i < c->nfds; i++)
		(void)close(c->fds[i]);
	free(c->fds);
	buf_fini(&c->text);
}
