/* `seqmsed serve`: puts the parts together, and takes them apart in an order that loses nothing. */

#include "server/serve.h"

#include "core/base/version.h"
#include "server/base/clock.h"
#include "server/base/heap.h"
#include "server/base/log.h"
#include "server/base/loop.h"
#include "server/engine/pool.h"
#include "server/engine/speed.h"
#include "server/floors.h"
#include "server/http/auth.h"
#include "server/http/backend.h"
#include "server/http/crew.h"
#include "server/http/guests.h"
#include "server/http/httpd.h"
#include "server/http/keyring.h"
#include "server/http/listen.h"
#include "server/http/metrics.h"
#include "server/http/watch.h"
#include "server/store/migrate.h"
#include "server/store/store.h"
#include "server/store/store_expire.h"
#include "server/store/store_job.h"
#include "server/store/store_upload.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TICK_MS = 200, SWEEP_MS = 1000, EXPIRE_MS = 3600000 };

struct daemon {
	struct config config;
	struct loop *loop;
	struct store *store;
	struct keyring *keys;
	struct auth *auth;
	struct guests *guests;
	struct metrics *metrics;
	struct watch *watch;
	struct crew *crew;
	struct pool *pool;
	struct speed *speed;
	struct backend backend;
	struct api api;
	struct httpd *httpd;
	int64_t swept_at;  /* monotonic: when clients were last checked */
	int64_t expire_at; /* monotonic: when to look for old objects again */
	struct crew_task expire;
	atomic_bool expiring; /* the task is the crew's */
	int socket;           /* listening, while it is not the server's; else -1 */
	atomic_bool stop;     /* inspections give up */
};

/* Runs in the crew. What fails is tried again an hour later. */
static void expire(void *arg)
{
	struct daemon *d = arg;
	struct store_expired gone;
	struct err e = ERR_INIT;
	if (store_expire(d->store, d->config.keep_job_days, d->config.keep_upload_days, &gone, &e) < 0)
		log_line(LOG_WARN, "old objects were not all forgotten", "why", LOG_STR, e.msg);
	if (gone.jobs + gone.models + gone.calibrations + gone.encodings > 0)
		log_line(LOG_INFO, "old objects forgotten", "jobs", LOG_INT, gone.jobs, "models", LOG_INT, gone.models,
		         "calibrations", LOG_INT, gone.calibrations, "encodings", LOG_INT, gone.encodings);
	atomic_store(&d->expiring, false);
}

static void on_tick(void *ctx)
{
	struct daemon *d = ctx;
	int64_t now = clock_steady_ms();
	watch_expire(d->watch, now);
	if (now - d->swept_at >= SWEEP_MS) {
		d->swept_at = now;
		guests_sweep(d->guests, now);
	}
	if (now < d->expire_at || !(d->config.keep_job_days || d->config.keep_upload_days) || atomic_exchange(&d->expiring, true))
		return;
	d->expire_at = now + EXPIRE_MS;
	d->expire = (struct crew_task){.fn = expire, .arg = d};
	if (!crew_submit(d->crew, &d->expire))
		atomic_store(&d->expiring, false);
}

static void on_news(void *ctx, const char *job)
{
	struct daemon *d = ctx;
	watch_news(d->watch, job);
}

static void on_ended(void *ctx, const char *outcome, double seconds)
{
	struct daemon *d = ctx;
	metrics_attempt(d->metrics, outcome, seconds);
}

static void on_settled(void *ctx, const char *job)
{
	struct daemon *d = ctx;
	watch_wake(d->watch, job);
}

/* What the last daemon left: work goes back to the queue, files that belong to nothing go. */
static int recover(struct store *s, struct err *e)
{
	int requeued, removed;
	if (store_job_recover(s, &requeued, e) < 0 || store_sweep(s, &removed, e) < 0 || store_upload_recover(s, e) < 0)
		return -1;
	log_line(LOG_INFO, "state opened", "requeued", LOG_INT, (int64_t)requeued, "removed_files", LOG_INT, (int64_t)removed,
	         "sqlite", LOG_STR, db_version());
	return 0;
}

static int start_workers(struct daemon *d, struct err *e)
{
	const struct config *c = &d->config;
	int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGE_SIZE);
	int64_t job = c->max_job_memory_bytes ? c->max_job_memory_bytes : machine / 10 * 9 / c->workers;
	const struct pool_options o = {.store = d->store,
	                               .speed = d->speed,
	                               .workers = c->workers,
	                               .threads_per_job = c->threads_per_job,
	                               .max_memory_bytes = c->max_job_memory_bytes ? job / 2 : machine / 2 / c->workers,
	                               .job_memory_bytes = job,
	                               .job_seconds = c->max_job_seconds,
	                               .job_spill_bytes = c->max_job_spill_bytes,
	                               .settled = on_settled,
	                               .news = on_news,
	                               .ended = on_ended,
	                               .ctx = d};
	d->pool = pool_start(&o, e);
	return d->pool ? 0 : -1;
}

static void make_api(struct daemon *d)
{
	d->backend = (struct backend){.config = &d->config,
	                              .store = d->store,
	                              .watch = d->watch,
	                              .metrics = d->metrics,
	                              .auth = d->auth,
	                              .guests = d->guests,
	                              .speed = d->speed,
	                              .probe = {store_empty_folder(d->store), d->config.inspect_seconds * 1000, &d->stop}};
	backend_init(&d->backend);
	backend_fill(&d->backend, &d->api.backend);
	d->api.max_wait_seconds = d->config.max_wait_seconds;
}

static int start_http(struct daemon *d, struct err *e)
{
	const struct httpd_options o = {&d->config, &d->api,  store_blobs(d->store), d->crew, d->watch, d->auth, d->guests,
	                                d->metrics, d->socket};
	d->socket = -1; /* the server's from here on */
	d->httpd = httpd_start(&o, e);
	return d->httpd ? 0 : -1;
}

/* Beyond the loopback only keys keep strangers out, and the operator has to say that he knows that keys travel in the open. */
static int may_listen_anywhere(const struct config *c, bool *anywhere, struct err *e)
{
	*anywhere = false;
	if (!c->allow_plain_http)
		return 0;
	struct keyring *k = keyring_open(c->state_dir, false, e);
	int rc = k ? keyring_any(k, anywhere, e) : -1;
	keyring_close(k);
	return rc;
}

static int open_keys(struct daemon *d, struct err *e)
{
	d->keys = keyring_open(d->config.state_dir, true, e);
	d->auth = d->keys ? auth_new(&d->config, d->keys, d->store, e) : NULL;
	return d->auth ? 0 : -1;
}

static struct guests *make_guests(const struct config *c)
{
	const struct guests_limits l = {c->header_seconds, c->idle_seconds, c->slow_seconds, c->stall_seconds,
	                                c->min_bytes_per_second};
	return guests_new(&l);
}

/* The socket comes first: a wrong address changes nothing, and who connects early waits in the system's queue. */
static int start(struct daemon *d, char shown[LISTEN_TEXT], struct err *e)
{
	const struct loop_options o = {on_tick, TICK_MS, d};
	bool anywhere;
	if (may_listen_anywhere(&d->config, &anywhere, e) < 0)
		return -1;
	d->socket = listen_open(d->config.listen, anywhere, shown, e);
	if (d->socket < 0)
		return -1;
	d->watch = watch_new();
	d->metrics = metrics_new();
	d->guests = make_guests(&d->config);
	if (!d->watch || !d->metrics || !d->guests)
		return err_nomem(e, "the watch");
	d->loop = loop_new(&o, e);
	d->store = d->loop ? store_open(d->config.state_dir, e) : NULL;
	if (!d->store || open_keys(d, e) < 0 || recover(d->store, e) < 0)
		return -1;
	d->speed = speed_open(d->config.state_dir, e);
	if (!d->speed)
		return -1;
	make_api(d);
	d->crew = crew_start((int)d->config.request_threads, e);
	if (!d->crew || start_workers(d, e) < 0)
		return -1;
	d->backend.pool = d->pool;
	return start_http(d, e);
}

/* Nothing new, then what waits, then what works, then what it used. */
static void stop(struct daemon *d)
{
	atomic_store(&d->stop, true);
	if (d->httpd)
		httpd_drain(d->httpd);
	if (d->watch)
		watch_close(d->watch);
	if (d->crew)
		crew_stop(d->crew);
	pool_stop(d->pool);
	httpd_stop(d->httpd);
	crew_free(d->crew);
	auth_free(d->auth);
	keyring_close(d->keys);
	speed_close(d->speed);
	store_close(d->store);
	loop_free(d->loop);
	watch_free(d->watch);
	guests_free(d->guests);
	metrics_free(d->metrics);
	if (d->socket >= 0)
		(void)close(d->socket);
}

static int fail(const struct err *e)
{
	(void)fprintf(stderr, "seqmsed: %s\n", e->msg);
	return e->code == ERR_USAGE ? 2 : 1;
}

/* Every connection is a descriptor, and most systems begin with 1,024 of them. */
static void allow_descriptors(const struct config *c)
{
	struct rlimit r;
	rlim_t wanted = (rlim_t)c->max_connections * 2 + 512; /* a download holds a file, too */
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= wanted)
		return;
	r.rlim_cur = r.rlim_max < wanted ? r.rlim_max : wanted;
	(void)setrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_cur < wanted)
		log_line(LOG_WARN, "the system allows too few open files for --max-connections", "allowed", LOG_INT,
		         (int64_t)r.rlim_cur, "wanted", LOG_INT, (int64_t)wanted);
}

/* Scripts read the line; a service's output may be closed or full, which is no reason not to serve: the log says the same. */
static void say_where(const char *shown)
{
	struct err e = ERR_INIT;
	if (printf("listening on %s\n", shown) >= 0 && fflush(stdout) == 0)
		return;
	(void)err_errno(&e, errno, "the standard output");
	log_line(LOG_WARN, "the address could not be printed", "why", LOG_STR, e.msg);
}

static int run(struct config *config)
{
	struct daemon d = {.config = *config, .socket = -1};
	struct err e = ERR_INIT;
	char shown[LISTEN_TEXT];
	log_set_level((enum log_level)log_level_parse(config->log_level));
	(void)signal(SIGPIPE, SIG_IGN);
	(void)umask(077);
	heap_gives_back();
	allow_descriptors(config);
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* a core would hold keys and models */
	int rc = start(&d, shown, &e);
	bool listened = d.httpd || d.socket >= 0;
	if (rc == 0) {
		say_where(shown);
		floors_check(db_version(), httpd_version(), d.backend.runtime);
		log_line(LOG_INFO, "listening", "at", LOG_STR, shown, "version", LOG_STR, SEQMSED_VERSION, "onnxruntime", LOG_STR,
		         d.backend.runtime);
		loop_run(d.loop);
		log_line(LOG_INFO, "ending");
	}
	stop(&d);
	if (listened)
		listen_forget(config->listen);
	return rc == 0 ? 0 : fail(&e);
}

int cmd_serve(int argc, char **argv)
{
	struct config c;
	struct err e = ERR_INIT;
	bool help;
	int rc = config_read(&c, argc, argv, &help, &e) < 0 ? fail(&e) : 0;
	if (rc == 0 && help)
		config_print_help();
	else if (rc == 0)
		rc = run(&c);
	config_fini(&c);
	return rc;
}

int cmd_migrate(int argc, char **argv)
{
	struct config c;
	struct err e = ERR_INIT;
	bool help;
	int rc = config_read(&c, argc, argv, &help, &e) < 0 ? fail(&e) : 0;
	if (rc == 0 && help) {
		(void)puts("seqmsed migrate [--state-dir DIR]: brings the database to this version's schema, as serve does when it "
		           "starts");
	} else if (rc == 0) {
		struct store *s = store_open(c.state_dir, &e);
		rc = s ? 0 : fail(&e);
		if (s)
			(void)printf("schema %d\n", migrations_len ? migrations[migrations_len - 1].number : 0);
		store_close(s);
	}
	config_fini(&c);
	return rc;
}
