#include "server/engine/resume.h"

#include "core/base/io.h"
#include "server/engine/layer_frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct resume {
	struct layer_result *layers;
	size_t n;
};

static int add_line(struct resume *r, const char *line, size_t len, const char *machine, struct err *e)
{
	struct err why = ERR_INIT;
	struct layer_result *more = realloc(r->layers, (r->n + 1) * sizeof *more);
	if (!more)
		return err_nomem(e, "known layers");
	r->layers = more;
	int rc = layer_frame_result(line, len, machine, &more[r->n], &why);
	if (rc < 0 && why.code == ERR_MEMORY)
		return err_nomem(e, "known layers");
	r->n += rc == 0;
	return 0;
}

static int add_lines(struct resume *r, const struct buf *text, const char *machine, struct err *e)
{
	const char *p = text->data, *end = text->data + text->len;
	int rc = 0;
	while (p < end && rc == 0) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *stop = nl ? nl : end;
		rc = add_line(r, p, (size_t)(stop - p), machine, e);
		p = stop + 1;
	}
	return rc;
}

struct resume *resume_read(int fd, const char *machine, struct err *e)
{
	struct buf text = BUF_INIT;
	struct resume *r = calloc(1, sizeof *r);
	int rc = r ? 0 : err_nomem(e, "known layers");
	if (rc == 0 && (lseek(fd, 0, SEEK_SET) < 0 || io_read_rest(fd, &text) < 0))
		rc = err_errno(e, errno, "reading known layers");
	if (rc == 0 && buf_failed(&text))
		rc = err_nomem(e, "known layers");
	if (rc == 0 && text.len > 0)
		rc = add_lines(r, &text, machine, e);
	buf_fini(&text);
	if (rc == 0)
		return r;
	resume_free(r);
	return NULL;
}

void resume_free(struct resume *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n; i++)
		layer_result_fini(&r->layers[i]);
	free(r->layers);
	free(r);
}

const struct seqmse_layer_result *resume_layer(const struct resume *r, int index)
{
	for (size_t i = 0; r && i < r->n; i++)
		if (r->layers[i].r.index == index)
			return &r->layers[i].r;
	return NULL;
}
