#include "server/http/httpd.h"

#include "api/problems.h"
#include "server/base/clock.h"
#include "server/base/id.h"
#include "server/base/log.h"
#include "server/http/answer.h"
#include "server/http/auth.h"
#include "server/http/crew.h"
#include "server/http/guard.h"
#include "server/http/guests.h"
#include "server/http/metrics.h"
#include "server/http/trace.h"
#include "server/http/upload.h"
#include "server/http/watch.h"
#include "server/store/blob.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
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
	AGAIN,   /* to be asked again: the request waits for a job */
	WAIT,    /* with the watch */
	STREAM,  /* being sent, without a known end */
	ANSWER,  /* the response is ready */
	SENT,
};

/* One request and its answer. Owned by the connection's thread, or while suspended by the crew or the watch. */
struct exchange {
	struct httpd *h;
	struct MHD_Connection *connection;
	struct guest *guest;
	char *target;
	struct http_request q;
	struct http_response r;
	const struct route *route;
	enum phase phase;
	struct buf json;
	int64_t seen, limit; /* bytes of the body, and how many there may be */
	char id[65], method[16];
	char trace[TRACE_TEXT + 1]; /* the traceparent that we answer with */
	int64_t started;            /* monotonic */
	int status;                 /* that was sent, for the log */
	struct auth_grant grant;
	char address[64];
	size_t sent; /* of a stream: bytes of the body so far */
	bool over;   /* and whether more will come */
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

/* The connection that the request came over, as on_guest() left it. */
static struct guest *guest_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

static void read_address(struct exchange *x)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *a = info ? info->client_addr : NULL;
	if (a && a->sa_family == AF_INET)
		(void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, x->address, sizeof x->address);
	else if (a && a->sa_family == AF_INET6)
		(void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, x->address,
		                sizeof x->address);
}

static void log_exchange(const struct exchange *x, enum MHD_RequestTerminationCode how)
{
	char trace[33] = "";
	(void)snprintf(trace, sizeof trace, "%.32s", x->trace[0] ? x->trace + 3 : "");
	log_line(LOG_INFO, "request", "id", LOG_STR, x->id, "method", LOG_STR, x->method, "target", LOG_STR, x->target, "status",
	         LOG_INT, (int64_t)x->status, "ms", LOG_INT, clock_steady_ms() - x->started, "route", LOG_STR,
	         x->route ? x->route->pattern : NULL, "owner", LOG_STR, x->q.who.owner[0] ? x->q.who.owner : NULL, "key", LOG_STR,
	         x->grant.key[0] ? x->grant.key : NULL, "from", LOG_STR, x->address, "trace_id", LOG_STR, trace, "end", LOG_STR,
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
	guest_enter(x->guest, GUEST_HEAD);
	metrics_request(x->h->o.metrics, x->route, x->status, clock_steady_ms() - x->started, x->seen);
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
	struct err *e;
};

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len, const char *value,
                                 size_t value_len)
{
	struct header_walk *w = cls;
	(void)kind;
	/* A NUL would end the text early and let us see something else than a proxy before us saw. */
	if (strlen(key) != key_len || (value && strlen(value) != value_len))
		err_set(w->e, ERR_BAD_PARAM, "a header cannot be read");
	else if (http_add_header(&w->x->q, key, value ? value : "", w->e) == 0)
		return MHD_YES;
	return MHD_NO;
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

static void refuse_head(struct exchange *x, const struct err *e)
{
	problem_set(&x->r, &x->q, e->code == ERR_MEMORY ? PROBLEM_MEMORY : PROBLEM_BAD_REQUEST, "%s", e->msg);
}

static bool read_head(struct exchange *x, const char *method, const char *version)
{
	struct err e = ERR_INIT;
	struct header_walk w = {x, &e};
	const struct config *c = x->h->o.config;
	(void)MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, on_header, &w);
	x->q.method = http_method_of(method);
	(void)snprintf(x->method, sizeof x->method, "%s", method);
	name_request(x);
	trace_name(http_header(&x->q, "traceparent"), x->trace);
	read_address(x);
	x->guest = guest_of(x->connection);
	guest_enter(x->guest, GUEST_BODY);
	if (e.code)
		refuse_head(x, &e);
	else if (strlen(x->target) > (size_t)c->max_url_bytes)
		problem_set(&x->r, &x->q, PROBLEM_URI, "the request target has more than %lld bytes", (long long)c->max_url_bytes);
	else if (!guard_head(c, &x->q, strcmp(version, "HTTP/1.1") == 0, &x->r))
		return false;
	else if (atomic_load(&x->h->draining))
		problem_set(&x->r, &x->q, PROBLEM_DRAINING, "the server is ending");
	else if (http_parse_target(&x->q, x->target, &e) < 0)
		refuse_head(x, &e);
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
	case BODY_ENCODINGS:
		return c->max_encodings_bytes;
	case BODY_PIECE:
		return INT64_MAX; /* the check knows */
	case BODY_JSON:
	case BODY_OPTIONAL:
	case BODY_NONE:
		break;
	}
	return c->max_json_bytes;
}

static bool is_file(const struct exchange *x)
{
	enum route_body b = x->route->body;
	return b == BODY_MODEL || b == BODY_CALIBRATION || b == BODY_ENCODINGS || b == BODY_PIECE;
}

static bool too_large(struct exchange *x)
{
	problem_set(&x->r, &x->q, PROBLEM_TOO_LARGE, "the body may have %lld bytes", (long long)x->limit);
	return false;
}

/* The owner's share of the disk is another limit, and the smaller one counts. */
static bool check_share(struct exchange *x, int64_t length)
{
	struct err e = ERR_INIT;
	int64_t room = INT64_MAX;
	int rc = auth_room(x->h->o.auth, &x->q.who, &room, &e);
	if (rc == 0 && (length > room || room == 0))
		rc = err_set(&e, ERR_DISK_FULL, "your models, calibration sets and encodings may have %lld bytes, of which %lld are left",
		             (long long)x->h->o.config->max_bytes_per_owner, (long long)room);
	if (rc < 0)
		problem_of(&x->r, &x->q, &e, NULL);
	else if (room < x->limit)
		x->limit = room;
	return rc == 0;
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
	if (!check_share(x, length) || !check_disk(x, length))
		return false;
	x->q.upload = upload_new(x->h->o.blobs, x->limit, digest ? digest : http_header(&x->q, "Repr-Digest"), &e);
	if (!x->q.upload)
		problem_of(&x->r, &x->q, &e, NULL);
	return x->q.upload != NULL;
}

static bool expect_checksum(struct exchange *x)
{
	struct err e = ERR_INIT;
	if (!x->q.checksum[0] || upload_expect(x->q.upload, x->q.checksum, &e) == 0)
		return true;
	problem_of(&x->r, &x->q, &e, NULL);
	return false;
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
	if (!auth_request(x->h->o.auth, x->route, &x->q, &x->grant, &x->r))
		return false;
	x->limit = limit_of(x);
	if (length > x->limit)
		return too_large(x);
	if (!route_check(x->h->o.api, x->route, &x->q, &x->r))
		return false;
	if (x->q.upload) /* a piece, that the check found the place for */
		x->limit = upload_limit(x->q.upload);
	else if (x->q.most > 0)
		x->limit = x->q.most;
	if (length > x->limit)
		return too_large(x);
	if (x->route->body == BODY_PIECE && !http_has_body(&x->q))
		return true;
	return !is_file(x) || ((x->q.upload || begin_upload(x, length)) && expect_checksum(x));
}

/* ---- the answer ---- */

static void on_watch(void *arg)
{
	struct exchange *x = arg;
	MHD_resume_connection(x->connection);
}

/* The next bytes of a stream. Without any the connection is suspended until the watch has news. */
static ssize_t on_more(void *cls, uint64_t at, char *out, size_t size)
{
	struct exchange *x = cls;
	struct http_response *r = &x->r;
	(void)at;
	while (x->sent == r->body.len && !x->over) {
		uint64_t generation = watch_generation(x->h->o.watch);
		buf_fini(&r->body);
		x->sent = 0;
		r->wait_for[0] = '\0';
		x->q.waited_ms = clock_steady_ms() - x->started;
		x->q.may_wait = !atomic_load(&x->h->draining);
		x->over = !r->stream(x->h->o.api, &x->q, r);
		if (r->body.len > 0 || x->over)
			continue;
		x->watch = (struct watch_entry){
			.news = true, .deadline = clock_steady_ms() + r->wait_ms, .resume = on_watch, .arg = x};
		memcpy(x->watch.job, r->wait_for, sizeof x->watch.job);
		MHD_suspend_connection(x->connection);
		if (watch_add(x->h->o.watch, &x->watch, generation))
			return 0;
		MHD_resume_connection(x->connection);
		return 0;
	}
	size_t n = r->body.len - x->sent;
	if (n == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n > size)
		n = size;
	memcpy(out, r->body.data + x->sent, n);
	x->sent += n;
	return (ssize_t)n;
}

static enum MHD_Result send_answer(struct exchange *x)
{
	upload_free(x->q.upload); /* whoever has the answer finds nothing of a refused file */
	x->q.upload = NULL;
	auth_headers(&x->grant, &x->r);
	http_response_settle(&x->r);
	struct MHD_Response *m = answer_make(&x->r, &x->q, x->trace, on_more, x);
	if (!m)
		return MHD_NO; /* no memory: the connection is closed */
	guest_enter(x->guest, x->r.stream ? GUEST_WAIT : GUEST_ANSWER);
	x->phase = x->r.stream ? STREAM : SENT;
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
	x->phase = x->r.wait_for[0] ? AGAIN : ANSWER;
}

static void on_crew(void *arg)
{
	struct exchange *x = arg;
	answer(x);
	if (x->q.method != HTTP_GET && x->q.method != HTTP_HEAD)
		auth_note(x->h->o.auth, &x->q, &x->grant, x->method, x->address, x->r.status);
	MHD_resume_connection(x->connection); /* from here on x is the connection's again */
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
	guest_received(x->guest, (int64_t)len);
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
	guest_enter(x->guest, GUEST_WAIT);
	if (x->phase == DISCARD)
		return send_answer(x);
	if (buf_failed(&x->json))
		(void)err_nomem(&e, "the body");
	else if (x->q.upload && x->route->body != BODY_PIECE) /* pieces end when their handler takes them */
		(void)upload_end(x->q.upload, &e);
	if (e.code != ERR_NONE) {
		problem_of(&x->r, &x->q, &e, NULL);
		return send_answer(x);
	}
	x->q.body = x->json.data;
	x->q.body_len = x->json.len;
	return (x->route->flags & ROUTE_WAITS) ? hand_to_crew(x) : answer_or_wait(x);
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
	case AGAIN:
	case WAIT:
		return answer_or_wait(x);
	case ANSWER:
		return send_answer(x);
	case HEAD:
	case WORK:
	case STREAM:
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

/* A connection came, or goes (before its socket is closed). */
static void on_guest(void *cls, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode what)
{
	struct httpd *h = cls;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		*context = info ? guests_add(h->o.guests, info->connect_fd) : NULL;
	} else {
		guests_remove(h->o.guests, *context);
		*context = NULL;
	}
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
	h->daemon = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, on_connection,
	                             h, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET,
	                             o->socket, MHD_OPTION_URI_LOG_CALLBACK, on_target, h, MHD_OPTION_NOTIFY_COMPLETED,
	                             on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_guest, h, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
	                             (unsigned)o->config->max_connections_per_address, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped,
	                             NULL, MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->config->max_connections,
	                             MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)o->config->idle_seconds,
	                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
	                             MHD_OPTION_ARRAY, o->config->http_threads > 1 ? pool : pool + 1, MHD_OPTION_END);
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

const char *httpd_version(void)
{
	return MHD_get_version();
}
