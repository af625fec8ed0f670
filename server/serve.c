/* `seqmsed serve`: puts the parts together, and takes them apart in an order that loses nothing. */

#include "server/serve.h"

#include "core/version.h"
#include "server/backend.h"
#include "server/clock.h"
#include "server/crew.h"
#include "server/httpd.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/loop.h"
#include "server/migrate.h"
#include "server/pool.h"
#include "server/store.h"
#include "server/store_job.h"
#include "server/watch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TICK_MS = 200 };

struct daemon {
	struct config config;
	struct loop *loop;
	struct store *store;
	struct watch *watch;
	struct crew *crew;
	struct pool *pool;
	struct backend backend;
	struct api api;
	struct httpd *httpd;
	int socket;       /* listening, while it is not the server's; else -1 */
	atomic_bool stop; /* inspections give up */
};

static void on_tick(void *ctx)
{
	struct daemon *d = ctx;
	watch_expire(d->watch, clock_steady_ms());
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
	if (store_job_recover(s, &requeued, e) < 0 || store_sweep(s, &removed, e) < 0)
		return -1;
	log_line(LOG_INFO, "state opened", "requeued", LOG_INT, (int64_t)requeued, "removed_files", LOG_INT, (int64_t)removed,
	         "sqlite", LOG_STR, db_version());
	return 0;
}

static int64_t memory_of_a_job(const struct config *c)
{
	int64_t bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGE_SIZE);
	return bytes / 2 / c->workers;
}

static int start_workers(struct daemon *d, struct err *e)
{
	const struct pool_options o = {
		d->store, d->config.workers, d->config.threads_per_job, memory_of_a_job(&d->config), on_settled, d};
	d->pool = pool_start(&o, e);
	return d->pool ? 0 : -1;
}

static void make_api(struct daemon *d)
{
	d->backend = (struct backend){.config = &d->config,
	                              .store = d->store,
	                              .watch = d->watch,
	                              .probe = {store_empty_folder(d->store), d->config.inspect_seconds * 1000, &d->stop}};
	backend_init(&d->backend);
	backend_fill(&d->backend, &d->api.backend);
	d->api.max_wait_seconds = d->config.max_wait_seconds;
}

static int start_http(struct daemon *d, struct err *e)
{
	const struct httpd_options o = {&d->config, &d->api, store_blobs(d->store), d->crew, d->watch, d->socket};
	d->socket = -1; /* the server's from here on */
	d->httpd = httpd_start(&o, e);
	return d->httpd ? 0 : -1;
}

/* The socket comes first: a wrong address changes nothing, and who connects early waits in the system's queue. */
static int start(struct daemon *d, char shown[LISTEN_TEXT], struct err *e)
{
	const struct loop_options o = {on_tick, TICK_MS, d};
	d->socket = listen_open(d->config.listen, shown, e);
	if (d->socket < 0)
		return -1;
	d->watch = watch_new();
	if (!d->watch)
		return err_nomem(e, "the watch");
	d->loop = loop_new(&o, e);
	d->store = d->loop ? store_open(d->config.state_dir, e) : NULL;
	if (!d->store || recover(d->store, e) < 0)
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
	store_close(d->store);
	loop_free(d->loop);
	watch_free(d->watch);
	if (d->socket >= 0)
		(void)close(d->socket);
}

static int fail(const struct err *e)
{
	(void)fprintf(stderr, "seqmsed: %s\n", e->msg);
	return e->code == ERR_USAGE ? 2 : 1;
}

static int run(struct config *config)
{
	struct daemon d = {.config = *config, .socket = -1};
	struct err e = ERR_INIT;
	char shown[LISTEN_TEXT];
	log_set_level((enum log_level)log_level_parse(config->log_level));
	(void)signal(SIGPIPE, SIG_IGN);
	(void)umask(077);
	int rc = start(&d, shown, &e);
	bool listened = d.httpd || d.socket >= 0;
	if (rc == 0) {
		(void)printf("listening on %s\n", shown);
		(void)fflush(stdout);
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
