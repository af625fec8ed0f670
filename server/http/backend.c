#include "server/http/backend.h"

#include "core/base/json.h"
#include "core/base/version.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/engine/call.h"
#include "server/http/auth.h"
#include "server/http/guests.h"
#include "server/http/metrics.h"
#include "server/store/store.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void ask_runtime(struct backend *b)
{
	struct call call;
	struct buf answer = BUF_INIT;
	struct err e = ERR_INIT;
	call_init(&call, "version");
	int rc = call_end(&call, &e) == 0 ? probe_ask(&b->probe, &call, ERR_ORT, &answer, &e) : -1;
	struct json *v = rc == 0 ? json_parse(answer.data, answer.len, &e) : NULL;
	const char *version = json_text(json_get(v, "onnxruntime"));
	if (version)
		(void)snprintf(b->runtime, sizeof b->runtime, "%s", version);
	else
		(void)snprintf(b->runtime_why, sizeof b->runtime_why, "%.250s", e.msg);
	json_free(v);
	buf_fini(&answer);
	call_fini(&call);
}

void backend_init(struct backend *b)
{
	b->started = clock_steady_ms();
	b->nlimits = config_limits(b->config, b->limits);
	ask_runtime(b);
	if (!b->runtime[0])
		log_line(LOG_ERROR, "ONNX Runtime was not found: jobs will fail", "why", LOG_STR, b->runtime_why);
}

static void server_facts(void *ctx, struct api_server *out)
{
	const struct backend *b = ctx;
	out->version = SEQMSED_VERSION;
	out->onnxruntime = b->runtime[0] ? b->runtime : NULL;
	out->why = b->runtime_why;
	out->cpus = sysconf(_SC_NPROCESSORS_ONLN);
	out->workers = b->config->workers;
	out->threads_per_job = b->config->threads_per_job;
	out->uptime_seconds = (clock_steady_ms() - b->started) / 1000;
	out->limits = b->limits;
	out->nlimits = b->nlimits;
}

/* Jobs by status. */
static int write_jobs(struct backend *b, struct buf *out, struct err *e)
{
	static const char *const states[] = {"queued",    "running",   "pausing", "paused",
	                                     "canceling", "succeeded", "failed",  "canceled"};
	struct db *d = store_read(b->store, e);
	int rc = d ? 0 : -1;
	for (size_t i = 0; rc == 0 && i < sizeof states / sizeof *states; i++) {
		int64_t n;
		char label[40];
		rc = db_get_int(d, e, &n, NULL, "SELECT count(*) FROM jobs WHERE status = ?", "s", states[i]);
		(void)snprintf(label, sizeof label, "{status=\"%s\"}", states[i]);
		if (rc == 0)
			metrics_value(out, "jobs", "gauge", i ? NULL : "jobs in the database, by status", label, (double)n);
	}
	store_read_end(b->store, d);
	return rc;
}

/* What the system says of this process. */
static void write_process(struct buf *out)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f) {
		if (fscanf(f, "%*d %ld", &pages) != 1)
			pages = 0;
		(void)fclose(f);
	}
	struct rusage u;
	(void)getrusage(RUSAGE_SELF, &u);
	metrics_value(out, "resident_memory_bytes", "gauge", "of the daemon, without its engines", "",
	              (double)pages * (double)sysconf(_SC_PAGE_SIZE));
	metrics_value(out, "cpu_seconds_total", "counter", "that the daemon used, without its engines", "",
	              (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
}

static int write_metrics(void *ctx, struct buf *out, struct err *e)
{
	struct backend *b = ctx;
	int64_t open, shut, left;
	char version[120];
	(void)snprintf(version, sizeof version, "{version=\"%s\",onnxruntime=\"%.60s\"}", SEQMSED_VERSION, b->runtime);
	metrics_value(out, "info", "gauge", "what runs", version, 1);
	metrics_value(out, "uptime_seconds", "gauge", "since the daemon was started", "",
	              (double)(clock_steady_ms() - b->started) / 1000);
	metrics_write(b->metrics, out);
	guests_count(b->guests, &open, &shut);
	metrics_value(out, "connections", "gauge", "that are open", "", (double)open);
	metrics_value(out, "slow_connections_total", "counter", "that were closed because their client was too slow", "",
	              (double)shut);
	if (blobs_free_bytes(store_blobs(b->store), &left, e) == 0)
		metrics_value(out, "disk_free_bytes", "gauge", "where the state folder is", "", (double)left);
	metrics_value(out, "workers", "gauge", "jobs that may run at once", "", (double)b->config->workers);
	write_process(out);
	return write_jobs(b, out, e);
}

static void add_check(struct api_check *c, const char *name, bool ok, const char *detail)
{
	c->name = name;
	c->ok = ok;
	(void)snprintf(c->detail, sizeof c->detail, "%.150s", detail);
}

static void check_disk(struct backend *b, struct api_check *c)
{
	struct err e = ERR_INIT;
	int64_t left = 0;
	char detail[100];
	int rc = blobs_free_bytes(store_blobs(b->store), &left, &e);
	(void)snprintf(detail, sizeof detail, "%lld bytes are free, %lld must stay free", (long long)left,
	               (long long)b->config->min_free_bytes);
	add_check(c, "disk", rc == 0 && left > 0 && left >= b->config->min_free_bytes, rc == 0 ? detail : e.msg);
}

static int ticket_add(void *ctx, const struct api_caller *who, struct api_ticket *t, struct err *e)
{
	struct backend *b = ctx;
	return auth_ticket(b->auth, who, t, e);
}

static size_t ready(void *ctx, struct api_check checks[API_MAX_CHECKS])
{
	struct backend *b = ctx;
	struct err e = ERR_INIT;
	char workers[40];
	int rc = store_probe(b->store, &e);
	add_check(&checks[0], "database", rc == 0, rc == 0 ? "can be written" : e.msg);
	check_disk(b, &checks[1]);
	(void)snprintf(workers, sizeof workers, "%lld", (long long)b->config->workers);
	add_check(&checks[2], "workers", b->config->workers > 0, workers);
	add_check(&checks[3], "onnxruntime", b->runtime[0] != '\0', b->runtime[0] ? b->runtime : b->runtime_why);
	return 4;
}

int backend_open_blob(const struct backend *b, const char *sha256, char *name, char *media_type, struct api_blob *out,
                      struct err *e)
{
	*out = (struct api_blob){.name = name, .media_type = media_type};
	memcpy(out->sha256, sha256, sizeof out->sha256);
	out->fd = blob_open(store_blobs(b->store), sha256, &out->size, e);
	if (out->fd >= 0)
		return 0;
	api_blob_fini(out);
	return -1;
}

void backend_fill(struct backend *b, struct api_backend *out)
{
	memset(out, 0, sizeof *out);
	out->ctx = b;
	out->server = server_facts;
	out->metrics = write_metrics;
	out->ready = ready;
	out->ticket_add = ticket_add;
	backend_fill_objects(out);
	backend_fill_models(out);
	backend_fill_uploads(out);
	backend_fill_jobs(out);
	b->self = *out;
}
