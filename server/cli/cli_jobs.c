#include "server/cli/cli.h"
#include "server/cli/cli_args.h"
#include "server/cli/cli_follow.h"
#include "server/cli/cli_options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* submit, wait, get, list, cancel: a daemon's jobs from a shell or a script. */

struct jobs_args {
	const char *server, *words[2], *out, *version, *name, *status;
	int nwords;
	bool quiet, wait, all, json;
	struct params params;
};

/* ---- the command line ---- */

static const struct {
	const char *flag;
	size_t offset;
	bool is_bool;
} flags[] = {
	{"server", offsetof(struct jobs_args, server), false}, {"output", offsetof(struct jobs_args, out), false},
	{"o", offsetof(struct jobs_args, out), false},         {"encoding-version", offsetof(struct jobs_args, version), false},
	{"name", offsetof(struct jobs_args, name), false},     {"status", offsetof(struct jobs_args, status), false},
	{"quiet", offsetof(struct jobs_args, quiet), true},    {"wait", offsetof(struct jobs_args, wait), true},
	{"all", offsetof(struct jobs_args, all), true},        {"json", offsetof(struct jobs_args, json), true},
};

/* allowed: the flags that the command takes, between spaces; " params " stands for the settings of a job. */
static int take(struct jobs_args *a, struct cli_args *c, const char *allowed, int most, struct err *e)
{
	char between[140];
	if (!c->flag[0]) {
		if (a->nwords == most)
			return err_set(e, ERR_USAGE, "one word too many: %s", c->word);
		a->words[a->nwords++] = c->word;
		return 0;
	}
	(void)snprintf(between, sizeof between, " %s ", c->flag);
	for (size_t i = 0; strstr(allowed, between) && i < sizeof flags / sizeof *flags; i++) {
		void *at = (char *)a + flags[i].offset;
		if (strcmp(flags[i].flag, c->flag) != 0)
			continue;
		if (!flags[i].is_bool)
			return cli_args_value(c, at, e);
		*(bool *)at = true;
		return c->value ? err_set(e, ERR_USAGE, "--%s takes no value", c->flag) : 0;
	}
	if (strstr(allowed, " params "))
		return cli_args_param(c, &a->params, e);
	return err_set(e, ERR_USAGE, "unknown option %s", c->word);
}

static int parse(struct jobs_args *a, int argc, char **argv, const char *allowed, int most, struct err *e)
{
	struct cli_args c;
	cli_args_init(&c, argc, argv);
	while (cli_args_next(&c))
		if (take(a, &c, allowed, most, e))
			return -1;
	if (a->nwords < most)
		return err_set(e, ERR_USAGE, "something is missing; see seqmsed %s --help", argv[0]);
	return 0;
}

/* ---- requests ---- */

static void job_path(const char *job, const char *rest, struct buf *out)
{
	buf_str(out, "/v1/jobs/");
	client_quote(job, out);
	buf_str(out, rest);
}

struct uploading {
	const char *file;
	bool line;
};

static void on_upload(void *ctx, int64_t done, int64_t total)
{
	const struct uploading *u = ctx;
	if (u->line)
		(void)fprintf(stderr, "\r\033[Kuploading %s %3.0f%%", u->file, 100.0 * (double)done / (double)total);
}

/* What the daemon calls the file; 0, with the id in out, or -1. */
static int upload(struct client *c, const struct jobs_args *a, const char *kind, const char *file, const char *query, char out[64],
                  struct err *e)
{
	struct buf path = BUF_INIT;
	const char *slash = strrchr(file, '/');
	struct uploading u = {file, !a->quiet && isatty(STDERR_FILENO)};
	buf_printf(&path, "/v1/%s?name=", kind);
	client_quote(slash ? slash + 1 : file, &path);
	buf_str(&path, query);
	struct json *v = buf_failed(&path) ? NULL : client_upload(c, path.data, file, on_upload, &u, e);
	const char *id = json_text(json_get(v, "id")), *status = json_text(json_get(v, "status"));
	int rc = v ? 0 : -1;
	if (u.line)
		(void)fputs("\r\033[K", stderr);
	if (!rc && status && strcmp(status, "incomplete") == 0)
		rc = err_set(e, ERR_BAD_STATE,
		             "%s keeps its weights in other files, of which the daemon lacks %s; upload them with curl first", file,
		             json_text(json_at(json_get(v, "missing_files"), 0)));
	else if (!rc)
		(void)snprintf(out, 64, "%s", id ? id : "");
	json_free(v);
	buf_fini(&path);
	return rc ? err_wrap(e, "%s", file) : 0;
}

/* An encodings file goes by itself, for it may be larger than a request; id gets the setting's new value, a JSON text, or "" where there is none. */
static int upload_loaded(struct client *c, const struct jobs_args *a, char id[64], struct err *e)
{
	const char *text = a->params.load_encodings;
	id[0] = '\0';
	if (!text || text[0] == '"')
		return 0;
	struct json *v = client_post(c, "/v1/encodings", text, e);
	const char *made = json_text(json_get(v, "id"));
	(void)snprintf(id, 64, "\"%s\"", made ? made : "");
	json_free(v);
	return v ? 0 : -1;
}

static int send_job(struct client *c, const struct jobs_args *a, const char *model, const char *calibration, char out[64],
                    struct err *e)
{
	struct params p = a->params; /* borrows */
	char loaded[64];
	if (upload_loaded(c, a, loaded, e))
		return -1;
	if (loaded[0])
		p.load_encodings = loaded;
	struct buf body = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &body, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "model", model);
	json_out_string(&w, "calibration", calibration);
	if (a->name)
		json_out_string(&w, "name", a->name);
	params_to_json(&p, &w, "params");
	json_out_end_object(&w);
	struct json *v = buf_failed(&body) ? NULL : client_post(c, "/v1/jobs", body.data, e);
	const char *id = json_text(json_get(v, "id"));
	(void)snprintf(out, 64, "%s", id ? id : "");
	json_free(v);
	buf_fini(&body);
	return id ? 0 : -1;
}

/* Has the daemon check at once whether the data feed the model; with the setting `inputs` only the job can say how they do. */
static int fit_query(const struct jobs_args *a, const char *model, struct buf *out, struct err *e)
{
	const char *line = a->params.preprocess;
	if (a->params.inputs)
		return 0;
	buf_printf(out, "&model=%s", model);
	struct json *v = line ? json_parse(line, strlen(line), e) : NULL;
	if (v) {
		buf_str(out, "&preprocess=");
		client_quote(json_text(v), out);
	}
	json_free(v);
	return buf_failed(out) ? err_nomem(e, "a request") : line && !v ? -1 : 0;
}

static int upload_both(struct client *c, const struct jobs_args *a, char model[64], char calibration[64], struct err *e)
{
	struct buf query = BUF_INIT;
	struct stat st;
	int rc = -1;
	if (stat(a->words[1], &st) == 0 && S_ISDIR(st.st_mode))
		err_set(e, ERR_USAGE, "%s is a folder: a daemon takes a .zip of it (zip -r images.zip %s)", a->words[1],
		        a->words[1]);
	else if (upload(c, a, "models", a->words[0], "", model, e) == 0 && fit_query(a, model, &query, e) == 0)
		rc = upload(c, a, "calibrations", a->words[1], query.data ? query.data : "", calibration, e);
	buf_fini(&query);
	return rc;
}

static int submit(struct client *c, const struct jobs_args *a, struct err *e)
{
	char model[64], calibration[64], job[64];
	if (upload_both(c, a, model, calibration, e) || send_job(c, a, model, calibration, job, e))
		return -1;
	(void)puts(job);
	(void)fflush(stdout);
	if ((a->wait || a->out) && cli_follow(c, job, a->quiet, e))
		return -1;
	return a->out ? cli_fetch(c, job, a->out, a->version, a->all, e) : 0;
}

static int wait_for(struct client *c, const struct jobs_args *a, struct err *e)
{
	return cli_follow(c, a->words[0], a->quiet, e);
}

static int fetch(struct client *c, const struct jobs_args *a, struct err *e)
{
	return cli_fetch(c, a->words[0], a->out ? a->out : ".", a->version, a->all, e);
}

static int cancel(struct client *c, const struct jobs_args *a, struct err *e)
{
	struct buf path = BUF_INIT;
	job_path(a->words[0], "/cancel", &path);
	struct json *v = buf_failed(&path) ? NULL : client_post(c, path.data, NULL, e);
	buf_fini(&path);
	json_free(v);
	return v ? 0 : -1;
}

static void print_job(const struct json *j)
{
	const char *name = json_text(json_get(j, "name"));
	(void)printf("%s  %-9s  %3.0f%%  %s  %s\n", json_text(json_get(j, "id")), json_text(json_get(j, "status")),
	             100 * json_number(json_get(json_get(j, "progress"), "fraction")), json_text(json_get(j, "created_at")),
	             name ? name : "");
}

static void print_json(const struct json *v)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_value(&w, NULL, v);
	if (!buf_failed(&b))
		(void)printf("%s\n", b.data);
	buf_fini(&b);
}

static int list(struct client *c, const struct jobs_args *a, struct err *e)
{
	struct buf path = BUF_INIT;
	buf_str(&path, "/v1/jobs?limit=100");
	if (a->status) {
		buf_str(&path, "&status=");
		client_quote(a->status, &path);
	}
	struct json *v = buf_failed(&path) ? NULL : client_get(c, path.data, e);
	const struct json *data = json_get(v, "data");
	buf_fini(&path);
	for (size_t i = 0; i < json_size(data); i++)
		(a->json ? print_json : print_job)(json_at(data, i));
	json_free(v);
	return v ? 0 : -1;
}

/* ---- the commands ---- */

static int run(int argc, char **argv, const char *allowed, int words,
               int (*what)(struct client *c, const struct jobs_args *a, struct err *e))
{
	struct err e = ERR_INIT;
	struct jobs_args a = {.version = "1.0.0"};
	struct client *c = NULL;
	if (cli_args_want_help(argc, argv)) {
		cli_options_help(argv[0]);
		return 0;
	}
	params_init(&a.params);
	int rc = parse(&a, argc, argv, allowed, words, &e);
	if (!rc)
		c = client_open(a.server, &e);
	if (!rc)
		rc = c ? what(c, &a, &e) : -1;
	client_close(c);
	params_fini(&a.params);
	return rc ? cli_fail(&e) : 0;
}

int cli_submit(int argc, char **argv)
{
	return run(argc, argv, " server quiet wait output o all encoding-version name params ", 2, submit);
}

int cli_wait(int argc, char **argv)
{
	return run(argc, argv, " server quiet ", 1, wait_for);
}

int cli_get(int argc, char **argv)
{
	return run(argc, argv, " server quiet output o all encoding-version ", 1, fetch);
}

int cli_list(int argc, char **argv)
{
	return run(argc, argv, " server quiet status json ", 0, list);
}

int cli_cancel(int argc, char **argv)
{
	return run(argc, argv, " server quiet ", 1, cancel);
}
