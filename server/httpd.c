#include "server/httpd.h"

#include "api/problems.h"
#include "server/blob.h"
#include "server/clock.h"
#include "server/crew.h"
#include "server/guard.h"
#include "server/id.h"
#include "server/log.h"
#include "server/upload.h"
#include "server/watch.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	POOL_BYTES = 64 << 10,    /* the library's memory for a connection: head and a piece of the body */
	DRAIN_BYTES = 64 << 10,   /* of a refused body that is read so that the client reads the answer */
	OVERRUN_BYTES = 64 << 20, /* likewise of a body that turned out too long */
	STOP_WAIT_MS = 1000,
};

struct httpd {
	struct httpd_options o;
	struct MHD_Daemon *daemon;
	atomic_bool draining;
	atomic_int active; /* requests between their first byte and their end */
};

enum phase {
	HEAD,    /* nothing was looked at yet */
	BODY,    /* bytes go where the route wants them */
	DISCARD, /* the answer is known; the body is read and thrown away */
	WORK,    /* with the crew */
	WAIT,    /* with the watch */
	ANSWER,  /* the response is ready */
	SENT,
};

/* One request and its answer. Owned by the connection's thread, or while suspended by the crew or the watch. */
struct exchange {
	struct httpd *h;
	struct MHD_Connection *connection;
	char *target;
	struct http_request q;
	struct http_response r;
	const struct route *route;
	enum phase phase;
	struct buf json;
	int64_t seen, limit; /* bytes of the body, and how many there may be */
	char id[65], method[16];
	int64_t started; /* monotonic */
	int status;      /* that was sent, for the log */
	struct crew_task task;
	struct watch_entry watch;
};

/* ---- the life of an exchange ---- */

static void *on_target(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct httpd *h = cls;
	struct exchange *x = calloc(1, sizeof *x);
	if (!x)
		return NULL;
	x->target = strdup(uri ? uri : "");
	if (!x->target) {
		free(x);
		return NULL;
	}
	x->h = h;
	x->connection = connection;
	x->started = clock_steady_ms();
	http_response_init(&x->r);
	atomic_fetch_add(&h->active, 1);
	return x;
}

static void log_exchange(const struct exchange *x, enum MHD_RequestTerminationCode how)
{
	log_line(LOG_INFO, "request", "id", LOG_STR, x->id, "method", LOG_STR, x->method, "target", LOG_STR, x->target, "status",
	         LOG_INT, (int64_t)x->status, "ms", LOG_INT, clock_steady_ms() - x->started, "route", LOG_STR,
	         x->route ? x->route->pattern : NULL, "end", LOG_STR,
	         how == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "sent" : "cut off");
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode how)
{
	struct exchange *x = *context;
	(void)cls;
	(void)connection;
	if (!x)
		return;
	log_exchange(x, how);
	upload_free(x->q.upload);
	http_request_fini(&x->q);
	http_response_fini(&x->r);
	buf_fini(&x->json);
	atomic_fetch_sub(&x->h->active, 1);
	free(x->target);
	free(x);
	*context = NULL;
}

/* ---- the head ---- */

struct header_walk {
	struct exchange *x;
	bool bad;
};

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len, const char *value,
                                 size_t value_len)
{
	struct header_walk *w = cls;
	struct err e = ERR_INIT;
	(void)kind;
	/* A NUL would end the text early and let us see something else than a proxy before us saw. */
	if (strlen(key) != key_len || (value && strlen(value) != value_len) ||
	    http_add_header(&w->x->q, key, value ? value : "", &e) < 0)
		w->bad = true;
	return w->bad ? MHD_NO : MHD_YES;
}

/* The client's own name for the request, when it is a plain one, else a random one. */
static void name_request(struct exchange *x)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	const char *given = http_header(&x->q, "X-Request-Id");
	struct err e = ERR_INIT;
	if (given && *given && strlen(given) < sizeof x->id && strspn(given, plain) == strlen(given))
		memcpy(x->id, given, strlen(given) + 1);
	else
		(void)id_random(x->id, &e);
	x->q.id = x->id;
}

static bool read_head(struct exchange *x, const char *method, const char *version)
{
	struct header_walk w = {x, false};
	struct err e = ERR_INIT;
	const struct config *c = x->h->o.config;
	(void)MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, on_header, &w);
	x->q.method = http_method_of(method);
	(void)snprintf(x->method, sizeof x->method, "%s", method);
	name_request(x);
	if (w.bad)
		problem_set(&x->r, &x->q, PROBLEM_BAD_REQUEST, "a header cannot be read");
	else if (strlen(x->target) > (size_t)c->max_url_bytes)
		problem_set(&x->r, &x->q, PROBLEM_URI, "the request target has more than %lld bytes", (long long)c->max_url_bytes);
	else if (!guard_head(c, &x->q, strcmp(version, "HTTP/1.1") == 0, &x->r))
		return false;
	else if (atomic_load(&x->h->draining))
		problem_set(&x->r, &x->q, PROBLEM_DRAINING, "the server is ending");
	else if (http_parse_target(&x->q, x->target, &e) < 0)
		problem_set(&x->r, &x->q, PROBLEM_BAD_REQUEST, "%s", e.msg);
	else
		return true;
	return false;
}

static int64_t limit_of(const struct exchange *x)
{
	const struct config *c = x->h->o.config;
	switch (x->route->body) {
	case BODY_MODEL:
		return c->max_model_bytes;
	case BODY_CALIBRATION:
		return c->max_calibration_bytes;
	case BODY_JSON:
	case BODY_NONE:
		break;
	}
	return c->max_json_bytes;
}

static bool is_file(const struct exchange *x)
{
	return x->route->body == BODY_MODEL || x->route->body == BODY_CALIBRATION;
}

static bool too_large(struct exchange *x)
{
	problem_set(&x->r, &x->q, PROBLEM_TOO_LARGE, "the body may have %lld bytes", (long long)x->limit);
	return false;
}

/* Room for the announced bytes, and what must stay free. */
static bool check_disk(struct exchange *x, int64_t length)
{
	struct err e = ERR_INIT;
	int64_t left;
	if (blobs_free_bytes(x->h->o.blobs, &left, &e) == 0 && left - (length > 0 ? length : 0) < x->h->o.config->min_free_bytes)
		(void)err_set(&e, ERR_DISK_FULL, "there is no space left for the file");
	if (e.code != ERR_NONE)
		problem_of(&x->r, &x->q, &e, NULL);
	return e.code == ERR_NONE;
}

static bool begin_upload(struct exchange *x, int64_t length)
{
	struct err e = ERR_INIT;
	const char *digest = http_header(&x->q, "Content-Digest");
	if (!check_disk(x, length))
		return false;
	x->q.upload = upload_new(x->h->o.blobs, x->limit, digest ? digest : http_header(&x->q, "Repr-Digest"), &e);
	if (!x->q.upload)
		problem_of(&x->r, &x->q, &e, NULL);
	return x->q.upload != NULL;
}

/* Everything that is decided before the body. False: the response is the answer. */
static bool accept_head(struct exchange *x, const char *method, const char *version)
{
	if (!read_head(x, method, version))
		return false;
	int64_t length = guard_body_length(&x->q);
	x->route = route_find(&x->q, &x->r);
	if (!x->route)
		return false;
	x->limit = limit_of(x);
	if (length > x->limit)
		return too_large(x);
	if (!route_check(x->h->o.api, x->route, &x->q, &x->r))
		return false;
	return !is_file(x) || begin_upload(x, length);
}

/* ---- the answer ---- */

static struct MHD_Response *make_response(struct exchange *x)
{
	struct http_response *r = &x->r;
	struct MHD_Response *m;
	if (r->fd >= 0 && r->length > 0) {
		m = MHD_create_response_from_fd_at_offset64((uint64_t)r->length, r->fd, (uint64_t)r->offset);
		if (m)
			r->fd = -1; /* the library's from here on */
	} else {
		m = MHD_create_response_from_buffer(r->body.len, r->body.data,
		                                    r->body.data ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
		if (m)
			r->body = (struct buf)BUF_INIT;
	}
	if (!m)
		return NULL;
	for (size_t i = 0; i < r->nheaders; i++)
		(void)MHD_add_response_header(m, r->headers[i].name, r->headers[i].value);
	(void)MHD_add_response_header(m, "X-Request-Id", x->id);
	return m;
}

static enum MHD_Result send_answer(struct exchange *x)
{
	upload_free(x->q.upload); /* whoever has the answer finds nothing of a refused file */
	x->q.upload = NULL;
	struct MHD_Response *m = make_response(x);
	if (!m)
		return MHD_NO; /* no memory: the connection is closed */
	x->phase = SENT;
	x->status = x->r.status;
	enum MHD_Result rc = MHD_queue_response(x->connection, (unsigned)x->r.status, m);
	MHD_destroy_response(m);
	return rc;
}

/* ---- working and waiting ---- */

static void answer(struct exchange *x)
{
	x->q.waited_ms = clock_steady_ms() - x->started;
	x->q.may_wait = !atomic_load(&x->h->draining);
	route_answer(x->h->o.api, x->route, &x->q, &x->r);
	x->phase = ANSWER;
}

static void on_crew(void *arg)
{
	struct exchange *x = arg;
	answer(x);
	MHD_resume_connection(x->connection); /* from here on x is the connection's again */
}

static void on_watch(void *arg)
{
	struct exchange *x = arg;
	MHD_resume_connection(x->connection);
}

static enum MHD_Result hand_to_crew(struct exchange *x)
{
	x->phase = WORK;
	x->task = (struct crew_task){on_crew, x, NULL};
	MHD_suspend_connection(x->connection);
	if (crew_submit(x->h->o.crew, &x->task))
		return MHD_YES;
	problem_set(&x->r, &x->q, PROBLEM_DRAINING, "the server is ending");
	x->phase = ANSWER;
	MHD_resume_connection(x->connection);
	return MHD_YES;
}

/* Answers here and now, or hands the request to the watch. */
static enum MHD_Result answer_or_wait(struct exchange *x)
{
	uint64_t generation = watch_generation(x->h->o.watch);
	answer(x);
	if (!x->r.wait_for[0])
		return send_answer(x);
	x->phase = WAIT;
	x->watch = (struct watch_entry){.deadline = clock_steady_ms() + x->r.wait_ms, .resume = on_watch, .arg = x};
	memcpy(x->watch.job, x->r.wait_for, sizeof x->watch.job);
	MHD_suspend_connection(x->connection);
	if (!watch_add(x->h->o.watch, &x->watch, generation))
		MHD_resume_connection(x->connection); /* something changed meanwhile: look again */
	return MHD_YES;
}

/* ---- the body ---- */

/* A body that will be refused is still read when it is short: closing at once would make the client's system throw our answer
 * away. After a malformed head nobody knows where the body ends. */
static enum MHD_Result refuse(struct exchange *x)
{
	int64_t length = guard_body_length(&x->q);
	bool in_doubt = http_header(&x->q, "Expect") != NULL;
	x->limit = DRAIN_BYTES;
	if (x->r.status == 400 || length == -2 || length > DRAIN_BYTES || (in_doubt && length > 0))
		return send_answer(x);
	x->phase = DISCARD;
	return MHD_YES;
}

/* The body's end is read, too, of one that turned out wrong, but not without end. */
static bool goes_on(const struct exchange *x)
{
	return x->seen <= x->limit + (x->route && is_file(x) ? OVERRUN_BYTES : DRAIN_BYTES);
}

static void take(struct exchange *x, const char *data, size_t len)
{
	x->seen += (int64_t)len;
	if (x->phase != BODY)
		return;
	if (x->q.upload)
		upload_add(x->q.upload, data, len);
	else if (x->seen <= x->limit)
		buf_add(&x->json, data, len);
	if (x->seen > x->limit) {
		(void)too_large(x);
		x->phase = DISCARD;
	}
}

static enum MHD_Result finish_body(struct exchange *x)
{
	struct err e = ERR_INIT;
	if (x->phase == DISCARD)
		return send_answer(x);
	if (buf_failed(&x->json))
		(void)err_nomem(&e, "the body");
	else if (x->q.upload)
		(void)upload_end(x->q.upload, &e);
	if (e.code != ERR_NONE) {
		problem_of(&x->r, &x->q, &e, NULL);
		return send_answer(x);
	}
	x->q.body = x->json.data;
	x->q.body_len = x->json.len;
	return x->route->waits ? hand_to_crew(x) : answer_or_wait(x);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **context)
{
	struct exchange *x = *context;
	(void)cls;
	(void)connection;
	(void)url;
	if (!x)
		return MHD_NO;
	if (x->phase == HEAD) {
		bool ok = accept_head(x, method, version);
		x->phase = BODY;
		return ok ? MHD_YES : refuse(x);
	}
	if (*size > 0) {
		take(x, data, *size);
		*size = 0;
		return goes_on(x) ? MHD_YES : MHD_NO;
	}
	switch (x->phase) {
	case BODY:
	case DISCARD:
		return finish_body(x);
	case WAIT:
		return answer_or_wait(x);
	case ANSWER:
		return send_answer(x);
	case HEAD:
	case WORK:
	case SENT:
		break;
	}
	return MHD_NO;
}

/* ---- the daemon ---- */

/* The library's own way to stop accepting (quiesce) races with its threads and ends the process when it loses. */
static enum MHD_Result on_connection(void *cls, const struct sockaddr *address, socklen_t len)
{
	const struct httpd *h = cls;
	(void)address;
	(void)len;
	return atomic_load(&h->draining) ? MHD_NO : MHD_YES;
}

/* We decode targets ourselves, more strictly. */
static size_t leave_escaped(void *cls, struct MHD_Connection *connection, char *s)
{
	(void)cls;
	(void)connection;
	return strlen(s);
}

static void on_library_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_library_log(void *cls, const char *fmt, va_list ap)
{
	char text[300];
	(void)cls;
	(void)vsnprintf(text, sizeof text, fmt, ap);
	log_line(LOG_DEBUG, "libmicrohttpd", "text", LOG_STR, text);
}

struct httpd *httpd_start(const struct httpd_options *o, struct err *e)
{
	struct httpd *h = calloc(1, sizeof *h);
	if (!h) {
		err_nomem(e, "the HTTP server");
		return NULL;
	}
	h->o = *o;
	/* The library takes a pool of one for a mistake. */
	struct MHD_OptionItem pool[] = {{MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)o->config->http_threads, NULL},
	                                {MHD_OPTION_END, 0, NULL}};
	/* poll(), not epoll: with edges the library overlooks an end that came together with the last bytes, and keeps the
	 * connection, and the half of an upload, until it has been idle for too long. Requests that wait are suspended, so that few
	 * are polled. */
	h->daemon = MHD_start_daemon(
		MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, on_connection, h, on_request, h,
		MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET, o->socket, MHD_OPTION_URI_LOG_CALLBACK,
		on_target, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->config->max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)o->config->idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, o->config->http_threads > 1 ? pool : pool + 1, MHD_OPTION_END);
	if (h->daemon)
		return h;
	err_set(e, ERR_IO, "the HTTP server did not start");
	(void)close(o->socket);
	free(h);
	return NULL;
}

void httpd_drain(struct httpd *h)
{
	atomic_store(&h->draining, true);
}

void httpd_stop(struct httpd *h)
{
	if (!h)
		return;
	for (int64_t until = clock_steady_ms() + STOP_WAIT_MS; atomic_load(&h->active) > 0 && clock_steady_ms() < until;)
		(void)nanosleep(&(struct timespec){0, 10000000}, NULL);
	MHD_stop_daemon(h->daemon);
	free(h);
}
