#include "server/engine/engine.h"

#include "core/base/io.h"
#include "core/base/json.h"
#include "core/base/sha256.h"
#include "core/data/arrays.h"
#include "core/kernels/gemm.h"
#include "core/run/ort.h"
#include "server/base/heap.h"
#include "server/engine/beat.h"
#include "server/engine/frame.h"
#include "server/engine/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { SPARE_FILES = 16 }; /* beyond those of the request */

static int read_all(int fd, struct buf *b, struct err *e)
{
	if (io_read_rest(fd, b) < 0)
		return err_errno(e, errno, "reading the request");
	return buf_failed(b) ? err_nomem(e, "the request") : 0;
}

static int int_of(const struct json *v)
{
	return json_is_integer(v) ? (int)json_int(v) : -1;
}

static int fd_of(struct engine_request *q, const struct json *v)
{
	int fd = int_of(v);
	q->last = fd > q->last ? fd : q->last;
	return fd;
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
		q->files[q->nfiles].fd = fd_of(q, json_get(f, "fd"));
	}
	return 0;
}

static void read_limits(struct engine_request *q, const struct json *limits)
{
	q->memory_bytes = json_int(json_get(limits, "memory_bytes"));
	q->cpu_seconds = json_int(json_get(limits, "cpu_seconds"));
	q->file_bytes = json_int(json_get(limits, "file_bytes"));
}

/* The bytes; nobody looks at them yet. */
static int read_loaded(struct engine_request *q, struct err *e)
{
	struct buf text = BUF_INIT;
	if (q->loaded < 0)
		return 0;
	buf_str(&text, "");
	if (io_read_rest(q->loaded, &text) < 0 || buf_failed(&text)) {
		int rc = buf_failed(&text) ? err_nomem(e, "encodings") : err_errno(e, errno, "reading encodings");
		buf_fini(&text);
		return rc;
	}
	free(q->params.load_encodings);
	q->params.load_encodings = text.data;
	return 0;
}

static int read_request(struct engine_request *q, struct err *e)
{
	struct buf text = BUF_INIT;
	const struct json *params;
	int rc = -1;
	memset(q, 0, sizeof *q);
	q->last = ENGINE_FRAMES;
	params_init(&q->params);
	if (read_all(STDIN_FILENO, &text, e) < 0 || !(q->root = json_parse(text.data ? text.data : "", text.len, e)))
		goto out;
	q->mode = json_text(json_get(q->root, "mode"));
	q->parent = int_of(json_get(q->root, "parent"));
	q->model = fd_of(q, json_get(q->root, "model"));
	q->calibration = fd_of(q, json_get(q->root, "calibration"));
	q->evaluation = fd_of(q, json_get(q->root, "evaluation"));
	q->loaded = fd_of(q, json_get(q->root, "loaded"));
	q->known = fd_of(q, json_get(q->root, "known"));
	q->spill = fd_of(q, json_get(q->root, "spill"));
	q->fingerprint = json_text(json_get(q->root, "fingerprint"));
	read_limits(q, json_get(q->root, "limits"));
	params = json_get(q->root, "params");
	if (read_files(q, json_get(q->root, "files"), e) < 0 || (params && params_from_json(&q->params, params, e) < 0))
		goto out;
	rc = q->mode ? read_loaded(q, e) : err_set(e, ERR_USAGE, "the request has no mode");
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

/* Libraries come first: they are files, and ask what processor this is; OpenSSL reads its configuration at the first digest. */
static int load_libraries(struct engine_request *q, struct err *e)
{
	struct err why = ERR_INIT;
	char digest[SHA256_HEX + 1];
	if (ort_prepare(e) < 0 || gemm_open(e) < 0 || sha256_of("", 0, digest, e) < 0)
		return -1;
	if (machine_id(q->machine, &why) < 0)
		q->machine[0] = '\0';
	return 0;
}

static int close_in(const struct engine_request *q, int64_t threads, struct err *e)
{
	const struct sandbox s = {.memory_bytes = q->memory_bytes,
	                          .cpu_seconds = q->cpu_seconds,
	                          .file_bytes = q->file_bytes,
	                          .threads = threads,
	                          .files = q->last + SPARE_FILES};
	return sandbox_close(&s, e);
}

static int prepare(struct engine_request *q, struct err *e)
{
	if (strcmp(q->mode, "estimate") == 0)
		return load_libraries(q, e) == 0 && engine_rates(q, e) == 0 ? close_in(q, 2 * q->params.threads, e) : -1;
	if (strcmp(q->mode, "search") != 0)
		return close_in(q, 0, e);
	/* The runtime's threads and ours, and the beat. */
	return load_libraries(q, e) == 0 && close_in(q, 2 * q->params.threads + 1, e) == 0
	               ? beat_start(ENGINE_FRAMES, q->memory_bytes, e)
	               : -1;
}

static int work(const struct engine_request *q, struct err *e)
{
	if (strcmp(q->mode, "model") == 0)
		return engine_inspect_model(q, e);
	if (strcmp(q->mode, "calibration") == 0)
		return engine_inspect_calibration(q, e);
	if (strcmp(q->mode, "encodings") == 0)
		return engine_inspect_encodings(q, e);
	if (strcmp(q->mode, "estimate") == 0)
		return engine_estimate(q, e);
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

int engine_preprocess(const struct engine_request *q, struct arrays *z, bool evaluation, struct err *e)
{
	return evaluation && !arrays_are_images(z) ? 0 : arrays_preprocess(z, q->params.preprocess, e);
}

struct arrays *engine_open_data(const struct engine_request *q, bool evaluation, struct err *e)
{
	struct arrays *z = arrays_open_fd(evaluation ? q->evaluation : q->calibration,
	                                  evaluation ? "the evaluation data" : "the calibration", e);
	if (!z || engine_preprocess(q, z, evaluation, e) == 0)
		return z;
	arrays_free(z);
	return NULL;
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
	struct engine_request q;
	struct err e = ERR_INIT;
	(void)argv;
	if (argc > 1 || fcntl(ENGINE_FRAMES, F_GETFD) < 0) {
		(void)fprintf(stderr, "seqmsed engine is started by seqmsed serve, not by hand\n");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	heap_keeps();
	int rc = read_request(&q, &e);
	if (rc == 0 && (rc = follow_parent(&q, &e)) == 0)
		rc = strcmp(q.mode, "version") == 0 ? engine_version(&e) : prepare(&q, &e) < 0 ? -1 : work(&q, &e);
	if (rc < 0)
		send_error(&e);
	free_request(&q);
	return 0;
}
