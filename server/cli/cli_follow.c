#include "server/cli/cli_follow.h"

#include "server/cli/cli_files.h"
#include "server/cli/cli_line.h"

#include "core/base/io.h"
#include "server/base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static bool is_final(const char *status)
{
	return strcmp(status, "succeeded") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "canceled") == 0;
}

/* ---- the line ---- */

/* How fast it goes, since it was first seen to. */
struct pace {
	long long done; /* layers; -1: not seen yet */
	int64_t at;     /* ms */
};

static double rate(struct pace *p, long long done)
{
	int64_t now = clock_steady_ms();
	if (p->done < 0 || done < p->done)
		*p = (struct pace){done, now};
	return done > p->done && now > p->at ? (double)(done - p->done) * 1000 / (double)(now - p->at) : 0;
}

static void draw(const struct json *job, struct pace *pace)
{
	const struct json *p = json_get(job, "progress"), *eta = json_get(p, "eta_seconds"),
			  *place = json_get(job, "queue_position");
	const char *phase = json_text(json_get(p, "phase")), *current = json_text(json_get(p, "current"));
	long long done = json_int(json_get(p, "layers_done"));
	bool searching = phase && strcmp(phase, "search") == 0;
	char where[40] = "";
	if (json_is_integer(place))
		(void)snprintf(where, sizeof where, ", number %lld in the queue", (long long)json_int(place));
	cli_line_draw(&(struct cli_line){.phase = phase ? phase : json_text(json_get(job, "status")),
	                                 .where = where,
	                                 .fraction = json_number(json_get(p, "fraction")),
	                                 .done = done,
	                                 .total = searching ? json_int(json_get(p, "layers_total")) : 0,
	                                 .per_second = searching ? rate(pace, done) : 0,
	                                 .left = json_is_integer(eta) ? (double)json_int(eta) : -1,
	                                 .current = current ? current : ""});
}

static int outcome(const struct json *job, struct err *e)
{
	const char *status = json_text(json_get(job, "status"));
	const struct json *error = json_get(job, "error");
	const char *code = json_text(json_get(error, "code")), *detail = json_text(json_get(error, "detail"));
	if (strcmp(status, "succeeded") == 0)
		return 0;
	if (strcmp(status, "canceled") == 0)
		return err_set(e, ERR_CANCELED, "the job was canceled");
	return err_set(e, err_code_of(code ? code : ""), "%s", detail ? detail : "the job failed");
}

int cli_follow(struct client *c, const char *job, bool quiet, struct err *e)
{
	bool line = !quiet && isatty(STDERR_FILENO);
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
	struct buf path = BUF_INIT;
	struct pace pace = {.done = -1};
	int rc = 1; /* not ended yet */
	(void)sigaction(SIGINT, &sa, NULL);
	buf_str(&path, "/v1/jobs/");
	client_quote(job, &path);
	if (!line)
		buf_str(&path, "?wait=30");
	while (rc > 0) {
		struct json *j = buf_failed(&path) ? NULL : client_get(c, path.data, e);
		const char *status = json_text(json_get(j, "status"));
		if (!j)
			rc = buf_failed(&path) ? err_nomem(e, "a request") : -1;
		else if (!status)
			rc = err_set(e, ERR_IO, "the daemon's answer is no job");
		else if (is_final(status))
			rc = outcome(j, e);
		else if (interrupted)
			rc = err_set(e, ERR_CANCELED, "interrupted; the job goes on: seqmsed wait %s", job);
		else if (line)
			draw(j, &pace);
		json_free(j);
		if (rc > 0 && line)
			(void)nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
	}
	if (line)
		cli_line_wipe();
	buf_fini(&path);
	return rc;
}

/* ---- files ---- */

/* Into memory first (a file of no name), so that a broken download leaves nothing. */
static int fetch(struct client *c, const char *path, const char *name, struct cli_files *files, struct err *e)
{
	struct buf content = BUF_INIT;
	int fd = memfd_create("seqmsed", MFD_CLOEXEC);
	int rc = fd < 0 ? err_errno(e, errno, "%s", name) : client_download(c, path, fd, e);
	if (!rc && (lseek(fd, 0, SEEK_SET) || io_read_rest(fd, &content)))
		rc = buf_failed(&content) ? err_nomem(e, name) : err_errno(e, errno, "%s", name);
	if (!rc)
		rc = cli_files_add(files, name, &content, e);
	if (fd >= 0)
		(void)close(fd);
	buf_fini(&content);
	return rc;
}

/* A name that cannot leave the folder, whatever the daemon says. */
static bool is_plain(const char *name)
{
	return name && name[0] && name[0] != '.' && !strchr(name, '/');
}

static int fetch_all(struct client *c, const char *job, struct cli_files *files, struct err *e)
{
	struct buf path = BUF_INIT;
	buf_printf(&path, "/v1/jobs/%s/artifacts", job);
	struct json *list = buf_failed(&path) ? NULL : client_get(c, path.data, e);
	const struct json *data = json_get(list, "data");
	int rc = list ? 0 : -1;
	for (size_t i = 0; i < json_size(data) && !rc; i++) {
		const char *name = json_text(json_get(json_at(data, i), "name")),
			   *url = json_text(json_get(json_at(data, i), "url"));
		if (!is_plain(name) || !url)
			rc = err_set(e, ERR_IO, "the daemon names a file that it should not");
		else
			rc = fetch(c, url, name, files, e);
	}
	json_free(list);
	buf_fini(&path);
	return rc;
}

int cli_fetch(struct client *c, const char *job, const char *dir, const char *version, bool all, struct err *e)
{
	struct cli_files files = {0};
	struct buf path = BUF_INIT, id = BUF_INIT;
	client_quote(job, &id);
	buf_printf(&path, "/v1/jobs/%s/encodings?version=", id.data ? id.data : "");
	client_quote(version, &path);
	int rc = buf_failed(&path) || buf_failed(&id) ? err_nomem(e, "a request") : cli_files_open(&files, dir, e);
	if (!rc)
		rc = fetch(c, path.data, "model.encodings", &files, e);
	if (!rc && all)
		rc = fetch_all(c, id.data, &files, e);
	if (!rc)
		rc = cli_files_keep(&files, e);
	cli_files_close(&files);
	buf_fini(&path);
	buf_fini(&id);
	return rc;
}
