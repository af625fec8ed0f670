#include "server/engine.h"

#include "core/io.h"
#include "core/json.h"
#include "server/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static int read_all(int fd, struct buf *b, struct err *e)
{
	if (io_read_rest(fd, b) < 0)
		return err_errno(e, errno, "reading the request");
	return buf_failed(b) ? err_nomem(e, "the request") : 0;
}

static int fd_of(const struct json *v)
{
	return json_is_integer(v) ? (int)json_int(v) : -1;
}

static int read_files(struct engine_request *q, const struct json *files, struct err *e)
{
	size_t n = json_size(files);
	q->files = calloc(n + 1, sizeof *q->files);
	if (!q->files)
		return err_nomem(e, "a list of files");
	for (; q->nfiles < n; q->nfiles++) {
		const struct json *f = json_at(files, q->nfiles);
		q->files[q->nfiles].name = json_text(json_get(f, "name"));
		q->files[q->nfiles].fd = fd_of(json_get(f, "fd"));
	}
	return 0;
}

static int read_request(struct engine_request *q, struct err *e)
{
	struct buf text = BUF_INIT;
	const struct json *params;
	int rc = -1;
	memset(q, 0, sizeof *q);
	params_init(&q->params);
	if (read_all(STDIN_FILENO, &text, e) < 0 || !(q->root = json_parse(text.data ? text.data : "", text.len, e)))
		goto out;
	q->mode = json_text(json_get(q->root, "mode"));
	q->parent = fd_of(json_get(q->root, "parent"));
	q->model = fd_of(json_get(q->root, "model"));
	q->calibration = fd_of(json_get(q->root, "calibration"));
	params = json_get(q->root, "params");
	if (read_files(q, json_get(q->root, "files"), e) < 0 || (params && params_from_json(&q->params, params, e) < 0))
		goto out;
	rc = q->mode ? 0 : err_set(e, ERR_USAGE, "the request has no mode");
out:
	buf_fini(&text);
	return rc;
}

static void free_request(struct engine_request *q)
{
	params_fini(&q->params);
	free(q->files);
	json_free(q->root);
}

/* Dies with the supervisor, also when that was gone before prctl() could say so. */
static int follow_parent(const struct engine_request *q, struct err *e)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_errno(e, errno, "prctl");
	return getppid() == q->parent ? 0 : err_set(e, ERR_CANCELED, "the supervisor is gone");
}

static int work(const struct engine_request *q, struct err *e)
{
	if (strcmp(q->mode, "version") == 0)
		return engine_version(e);
	if (strcmp(q->mode, "model") == 0)
		return engine_inspect_model(q, e);
	if (strcmp(q->mode, "calibration") == 0)
		return engine_inspect_calibration(q, e);
	if (strcmp(q->mode, "search") == 0)
		return engine_search(q, e);
	return err_set(e, ERR_USAGE, "the mode %s is not known", q->mode);
}

struct onnx_model *engine_open_model(const struct engine_request *q, struct err *e)
{
	struct onnx_model *m = onnx_model_open_fd(q->model, "the model", e);
	if (m && q->nfiles > 0 && onnx_model_attach(m, q->files, q->nfiles, e) < 0) {
		onnx_model_free(m);
		m = NULL;
	}
	return m;
}

static void send_error(const struct err *why)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	struct err e = ERR_INIT;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "code", err_name(why->code));
	json_out_string(&w, "detail", why->msg);
	json_out_end_object(&w);
	if (!buf_failed(&b))
		(void)frame_write(ENGINE_FRAMES, FRAME_ERROR, b.data, b.len, &e);
	buf_fini(&b);
}

int cmd_engine(int argc, char **argv)
{
	static const struct rlimit no_core = {0, 0};
	struct engine_request q;
	struct err e = ERR_INIT;
	(void)argv;
	if (argc > 1 || fcntl(ENGINE_FRAMES, F_GETFD) < 0) {
		(void)fprintf(stderr, "seqmsed engine is started by seqmsed serve, not by hand\n");
		return 2;
	}
	(void)setrlimit(RLIMIT_CORE, &no_core); /* a core file would hold somebody's model */
	(void)signal(SIGPIPE, SIG_IGN);
	int rc = read_request(&q, &e);
	if (rc == 0 && (rc = follow_parent(&q, &e)) == 0)
		rc = work(&q, &e);
	if (rc < 0)
		send_error(&e);
	free_request(&q);
	return 0;
}
