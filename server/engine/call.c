#include "server/engine/call.h"

#include "api/backend.h"
#include "core/base/io.h"
#include "server/engine/child.h"
#include "server/engine/speed.h"
#include "server/store/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

int call_evaluation(struct call *c, int fd, struct err *e)
{
	return add(c, "evaluation", fd, e);
}

int call_loaded(struct call *c, int fd, struct err *e)
{
	return add(c, "loaded", fd, e);
}

int call_files(struct call *c, const struct blobs *b, const struct api_object *m, const char *extra_name, int extra, struct err *e)
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

int call_known(struct call *c, const struct buf *lines, struct err *e)
{
	int fd = memfd_create("known", MFD_CLOEXEC);
	if (fd < 0 || io_write(fd, lines->data, lines->len) < 0) {
		err_errno(e, errno, "a file for the engine");
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	return add(c, "known", fd, e);
}

void call_fingerprint(struct call *c, const char *fingerprint)
{
	json_out_string(&c->w, "fingerprint", fingerprint);
}

void call_params(struct call *c, const struct params *p)
{
	params_to_json(p, &c->w, "params");
}

void call_rates(struct call *c, struct speed *s)
{
	struct buf text = BUF_INIT;
	struct err ignored = ERR_INIT;
	speed_text(s, &text);
	struct json *v = buf_failed(&text) ? NULL : json_parse(text.data, text.len, &ignored);
	if (v)
		json_out_value(&c->w, "rates", v);
	json_free(v);
	buf_fini(&text);
}

int call_spill(struct call *c, int fd, struct err *e)
{
	return add(c, "spill", fd, e);
}

void call_limits(struct call *c, int64_t memory_bytes, int64_t cpu_seconds, int64_t file_bytes)
{
	c->limited = true;
	json_out_object(&c->w, "limits");
	json_out_integer(&c->w, "memory_bytes", memory_bytes);
	json_out_integer(&c->w, "cpu_seconds", cpu_seconds);
	json_out_integer(&c->w, "file_bytes", file_bytes);
	json_out_end_object(&c->w);
}

/* A parsed message takes up to eight times its bytes (packed numbers), and lists of many small ones some more. */
static void limit_inspection(struct call *c)
{
	enum { BASE = 1 << 30, FACTOR = 8, CPU_SECONDS = 600, FILE_BYTES = 4096 };
	int64_t bytes = 0;
	struct stat s;
	for (size_t i = 0; i < c->nfds; i++)
		bytes += fstat(c->fds[i], &s) == 0 ? s.st_size : 0;
	call_limits(c, BASE + FACTOR * bytes, CPU_SECONDS, FILE_BYTES);
}

int call_end(struct call *c, struct err *e)
{
	if (!c->limited)
		limit_inspection(c);
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
