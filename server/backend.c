#include "server/backend.h"

#include "core/json.h"
#include "core/version.h"
#include "server/call.h"
#include "server/clock.h"
#include "server/log.h"
#include "server/store.h"

#include <stdio.h>
#include <string.h>
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

void backend_fill(struct backend *b, struct api_backend *out)
{
	memset(out, 0, sizeof *out);
	out->ctx = b;
	out->server = server_facts;
	out->ready = ready;
	backend_fill_models(out);
	backend_fill_calibrations(out);
	backend_fill_jobs(out);
}
