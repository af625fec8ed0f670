#ifndef SEQMSED_CONFIG_H
#define SEQMSED_CONFIG_H

/* The settings of `seqmsed serve`: one table of flags, environment variables, defaults and limits. A flag wins over its variable
 * (--max-model-bytes over SEQMSED_MAX_MODEL_BYTES), that over the default. */

#include "api/backend.h"
#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config {
	char *listen, *state_dir, *log_level, *allowed_hosts;
	int64_t workers, threads_per_job, http_threads, request_threads;
	int64_t max_model_bytes, max_calibration_bytes, max_encodings_bytes, max_json_bytes, max_url_bytes, max_header_bytes, max_header_fields;
	int64_t max_connections, idle_seconds, inspect_seconds, max_wait_seconds, max_queued_jobs, max_queued_jobs_per_owner;
	int64_t max_bytes_per_owner, requests_per_minute, allow_plain_http, min_free_bytes;
	int64_t max_job_seconds, max_job_memory_bytes, max_job_spill_bytes, keep_job_days, keep_upload_days;
	int64_t upload_seconds, header_seconds, slow_seconds, stall_seconds, min_bytes_per_second, max_connections_per_address;
};

/* Defaults, then the environment, then the flags of argv (argv[0] is skipped). *help: --help was there. ERR_USAGE names the
 * flag. Release with config_fini(), also after a failure. */
int config_read(struct config *c, int argc, char **argv, bool *help, struct err *e);
/* The folder that serve uses where none is named: of the environment, or the user's own. To be freed. */
int config_state_dir(char **out, struct err *e);
void config_fini(struct config *c);
void config_print_help(void);
/* Setting i of the table; false behind its end. The flag has hyphens. */
bool config_setting(size_t i, const char **name, const char **meaning);

/* The limits among the settings, for GET /v1/server; out has room for CONFIG_MAX_LIMITS. */
enum { CONFIG_MAX_LIMITS = 48 };
size_t config_limits(const struct config *c, struct api_limit out[CONFIG_MAX_LIMITS]);

#endif
