#include "server/config.h"

#include "server/base/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { TEXT, NUMBER, BYTES };

#define KiB ((int64_t)1 << 10)
#define MiB ((int64_t)1 << 20)
#define GiB ((int64_t)1 << 30)

static const struct setting {
	const char *name; /* of the limit in JSON; the flag has hyphens, the variable capitals */
	enum kind kind;
	bool limit;
	size_t offset;
	const char *text; /* a text's default */
	int64_t dflt, min, max;
	const char *meaning;
} settings[] = {
#define AT(member) offsetof(struct config, member)
	{"listen", TEXT, false, AT(listen), "127.0.0.1:8080", 0, 0, 0,
         "ADDRESS:PORT, or unix:PATH; port 0 picks one. Beyond the loopback only with keys and --allow-plain-http"},
	{"state_dir", TEXT, false, AT(state_dir), NULL, 0, 0, 0,
         "folder of database and files (default: seqmsed in the user's state folder)"},
	{"allowed_hosts", TEXT, false, AT(allowed_hosts), "", 0, 0, 0,
         "names, with commas between, that a Host or Origin header may have besides the loopback's"},
	{"allow_plain_http", NUMBER, false, AT(allow_plain_http), NULL, 0, 0, 1,
         "1: listen beyond the loopback although keys then travel unencrypted (to a proxy that speaks TLS)"},
	{"log_level", TEXT, false, AT(log_level), "info", 0, 0, 0, "debug, info, warn or error"},
	{"workers", NUMBER, true, AT(workers), NULL, 1, 1, 256, "jobs that run at once"},
	{"threads_per_job", NUMBER, true, AT(threads_per_job), NULL, 0, 0, 1024, "threads of one job; 0: processors / workers"},
	{"http_threads", NUMBER, false, AT(http_threads), NULL, 2, 1, 64, "threads that serve connections"},
	{"request_threads", NUMBER, true, AT(request_threads), NULL, 4, 1, 64, "uploads and changes that are worked on at once"},
	{"max_model_bytes", BYTES, true, AT(max_model_bytes), NULL, 4 * GiB, 1, INT64_MAX, "of an uploaded model or external file"},
	{"max_calibration_bytes", BYTES, true, AT(max_calibration_bytes), NULL, 16 * GiB, 1, INT64_MAX,
         "of an uploaded calibration set"},
	{"max_encodings_bytes", BYTES, true, AT(max_encodings_bytes), NULL, 64 * MiB, 1, INT64_MAX, "of an uploaded encodings file"},
	{"max_json_bytes", BYTES, true, AT(max_json_bytes), NULL, 64 * KiB, 1 * KiB, 16 * MiB, "of a JSON body"},
	{"max_url_bytes", BYTES, true, AT(max_url_bytes), NULL, 8 * KiB, 256, 16 * KiB, "of a request's target"},
	{"max_header_bytes", BYTES, true, AT(max_header_bytes), NULL, 16 * KiB, 1 * KiB, 32 * KiB, "of all request headers"},
	{"max_header_fields", NUMBER, true, AT(max_header_fields), NULL, 64, 8, 256, "request headers"},
	{"max_connections", NUMBER, true, AT(max_connections), NULL, 512, 4, 65536, "open connections"},
	{"idle_seconds", NUMBER, true, AT(idle_seconds), NULL, 30, 1, 3600, "a connection may be silent"},
	{"header_seconds", NUMBER, true, AT(header_seconds), NULL, 10, 1, 3600, "a request's headers may take"},
	{"slow_seconds", NUMBER, true, AT(slow_seconds), NULL, 10, 1, 3600, "a body or an answer may be slow"},
	{"min_bytes_per_second", BYTES, true, AT(min_bytes_per_second), NULL, 16 * KiB, 1, 1 * GiB,
         "that it must come to after them"},
	{"stall_seconds", NUMBER, true, AT(stall_seconds), NULL, 30, 1, 3600, "a client may read nothing of an answer"},
	{"max_connections_per_address", NUMBER, true, AT(max_connections_per_address), NULL, 0, 0, 65536,
         "of them from one address; 0: all (a proxy is one address)"},
	{"inspect_seconds", NUMBER, true, AT(inspect_seconds), NULL, 10, 1, 600, "looking into an uploaded file may take"},
	{"max_wait_seconds", NUMBER, true, AT(max_wait_seconds), NULL, 300, 1, 3600, "?wait= waits at most"},
	{"max_queued_jobs", NUMBER, true, AT(max_queued_jobs), NULL, 10000, 1, 10000000, "jobs that wait"},
	{"max_queued_jobs_per_owner", NUMBER, true, AT(max_queued_jobs_per_owner), NULL, 10000, 1, 10000000, "of them one owner's"},
	{"max_bytes_per_owner", BYTES, true, AT(max_bytes_per_owner), NULL, (int64_t)1 << 40, 1, INT64_MAX,
         "of one owner's models, calibration sets and encodings"},
	{"upload_seconds", NUMBER, true, AT(upload_seconds), NULL, 86400, 1, 31536000, "an upload in pieces may take"},
	{"requests_per_minute", NUMBER, true, AT(requests_per_minute), NULL, 6000, 1, 10000000,
         "of one owner, where there are keys"},
	{"max_job_seconds", NUMBER, true, AT(max_job_seconds), NULL, 86400, 1, 31536000, "an attempt at a job may take"},
	{"max_job_memory_bytes", BYTES, true, AT(max_job_memory_bytes), NULL, 0, 64 * MiB, INT64_MAX,
         "memory of one job; 0: nine tenths of the machine's / workers"},
	{"max_job_spill_bytes", BYTES, true, AT(max_job_spill_bytes), NULL, 64 * GiB, 1 * MiB, INT64_MAX,
         "of activations that one job may write to a temporary file"},
	{"keep_job_days", NUMBER, true, AT(keep_job_days), NULL, 0, 0, 36500,
         "after which ended jobs and their results are forgotten; 0: never"},
	{"keep_upload_days", NUMBER, true, AT(keep_upload_days), NULL, 0, 0, 36500,
         "after which models, calibrations and encodings that no job uses are forgotten; 0: never"},
	{"min_free_bytes", BYTES, true, AT(min_free_bytes), NULL, 128 * MiB, 0, INT64_MAX, "disk space that uploads leave free"},
};
enum { NSETTINGS = sizeof settings / sizeof *settings };

static char **text_of(struct config *c, const struct setting *s)
{
	return (char **)(void *)((char *)c + s->offset);
}

static int64_t *number_of(struct config *c, const struct setting *s)
{
	return (int64_t *)(void *)((char *)c + s->offset);
}

/* "4G" -> 4294967296 */
static bool parse_number(const struct setting *s, const char *text, int64_t *out)
{
	static const char units[] = "KMGT";
	char *end;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	if (end == text || errno || !isdigit((unsigned char)text[0]))
		return false;
	const char *unit = s->kind == BYTES && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	int64_t factor = unit ? (int64_t)1 << (10 * (unit - units + 1)) : 1;
	if (unit)
		end++;
	if (*end || v > INT64_MAX / factor)
		return false;
	*out = v * factor;
	return *out >= s->min && *out <= s->max;
}

static int set(struct config *c, const struct setting *s, const char *text, const char *where, struct err *e)
{
	if (s->kind == TEXT) {
		char *copy = strdup(text);
		if (!copy)
			return err_nomem(e, "a setting");
		free(*text_of(c, s));
		*text_of(c, s) = copy;
		return 0;
	}
	if (parse_number(s, text, number_of(c, s)))
		return 0;
	return err_set(e, ERR_USAGE, "%s must be an integer from %lld to %lld, not \"%.100s\"", where, (long long)s->min,
	               (long long)s->max, text);
}

static void flag_of(const struct setting *s, char out[64])
{
	(void)snprintf(out, 64, "--%s", s->name);
	for (char *p = out; *p; p++)
		if (*p == '_')
			*p = '-';
}

static void variable_of(const struct setting *s, char out[64])
{
	(void)snprintf(out, 64, "SEQMSED_%s", s->name);
	for (char *p = out; *p; p++)
		*p = (char)toupper((unsigned char)*p);
}

/* Where programs of this user keep their state. */
static int default_state_dir(char **out, struct err *e)
{
	const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n = base && base[0] == '/'   ? asprintf(out, "%s/seqmsed", base)
	        : home && home[0] == '/' ? asprintf(out, "%s/.local/state/seqmsed", home)
	                                 : asprintf(out, "/var/lib/seqmsed");
	if (n >= 0)
		return 0;
	*out = NULL;
	return err_nomem(e, "a setting");
}

int config_state_dir(char **out, struct err *e)
{
	const char *value = getenv("SEQMSED_STATE_DIR");
	if (!value)
		return default_state_dir(out, e);
	*out = strdup(value);
	return *out ? 0 : err_nomem(e, "a setting");
}

static int set_defaults(struct config *c, struct err *e)
{
	for (int i = 0; i < NSETTINGS; i++) {
		const struct setting *s = &settings[i];
		char variable[64];
		const char *value;
		if (s->kind != TEXT)
			*number_of(c, s) = s->dflt;
		else if (s->text && set(c, s, s->text, s->name, e) < 0)
			return -1;
		variable_of(s, variable);
		value = getenv(variable);
		if (value && set(c, s, value, variable, e) < 0)
			return -1;
	}
	return c->state_dir ? 0 : default_state_dir(&c->state_dir, e);
}

/* "--flag value" or "--flag=value". */
static int read_flag(struct config *c, int argc, char **argv, int *i, struct err *e)
{
	const char *arg = argv[*i], *equals = strchr(arg, '=');
	size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
	for (int k = 0; k < NSETTINGS; k++) {
		char flag[64];
		flag_of(&settings[k], flag);
		if (strlen(flag) != len || memcmp(flag, arg, len) != 0)
			continue;
		if (!equals && *i + 1 >= argc)
			return err_set(e, ERR_USAGE, "%s needs a value", flag);
		return set(c, &settings[k], equals ? equals + 1 : argv[++*i], flag, e);
	}
	return err_set(e, ERR_USAGE, "serve does not know %.100s; seqmsed serve --help lists the flags", arg);
}

static int derive(struct config *c, struct err *e)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (log_level_parse(c->log_level) < 0)
		return err_set(e, ERR_USAGE, "--log-level must be debug, info, warn or error");
	if (c->threads_per_job == 0)
		c->threads_per_job = cpus / c->workers > 0 ? cpus / c->workers : 1;
	return 0;
}

int config_read(struct config *c, int argc, char **argv, bool *help, struct err *e)
{
	memset(c, 0, sizeof *c);
	*help = false;
	if (set_defaults(c, e) < 0)
		return -1;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			*help = true;
		else if (read_flag(c, argc, argv, &i, e) < 0)
			return -1;
	}
	return derive(c, e);
}

void config_fini(struct config *c)
{
	free(c->listen);
	free(c->state_dir);
	free(c->log_level);
	free(c->allowed_hosts);
	memset(c, 0, sizeof *c);
}

void config_print_help(void)
{
	(void)puts("seqmsed serve [FLAG VALUE]…: takes models, calibration data and jobs over HTTP\n"
	           "\n"
	           "Every flag has an environment variable: --max-model-bytes is SEQMSED_MAX_MODEL_BYTES. Bytes may end in K, M, G "
	           "or T.\n");
	for (int i = 0; i < NSETTINGS; i++) {
		char flag[64], value[32];
		flag_of(&settings[i], flag);
		(void)snprintf(value, sizeof value, "%lld", (long long)settings[i].dflt);
		const char *dflt = settings[i].kind == TEXT ? settings[i].text : value;
		(void)printf("  %-24s %s%s%s%s\n", flag, settings[i].meaning, dflt ? " (default " : "", dflt ? dflt : "",
		             dflt ? ")" : "");
	}
}

bool config_setting(size_t i, const char **name, const char **meaning)
{
	if (i >= (size_t)NSETTINGS)
		return false;
	*name = settings[i].name;
	*meaning = settings[i].meaning;
	return true;
}

size_t config_limits(const struct config *c, struct api_limit out[CONFIG_MAX_LIMITS])
{
	size_t n = 0;
	for (int i = 0; i < NSETTINGS && n < CONFIG_MAX_LIMITS; i++) {
		const struct setting *s = &settings[i];
		if (s->limit)
			out[n++] = (struct api_limit){s->name, s->meaning,
			                              *(const int64_t *)(const void *)((const char *)c + s->offset)};
	}
	return n;
}
