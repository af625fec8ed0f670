#ifndef SEQMSED_CONFIG_H
#define SEQMSED_CONFIG_H

/* The settings of `seqmsed serve`: one table of flags, environment variables, defaults and limits. A flag wins over its variable
 * (--max-model-bytes over SEQMSED_MAX_MODEL_BYTES), that over the default. */

#include "api/backend.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config {
	char *listen, *state_dir, *log_level;
	int64_t workers, threads_per_job, http_threads, request_threads;
	int64_t max_model_bytes, max_calibration_bytes, max_json_bytes, max_url_bytes, max_header_bytes, max_header_fields;
	int64_t max_connections, idle_seconds, inspect_seconds, max_wait_seconds, max_queued_jobs, min_free_bytes;
};

/* Defaults, then the environment, then the flags of argv (argv[0] is skipped). *help: --help was there. ERR_USAGE names the
 * flag. Release with config_fini(), also after a failure. */
int config_read(struct config *c, int argc, char **argv, bool *help, struct err *e);
void config_fini(struct config *c);
void config_print_help(void);

/* The limits among the settings, for GET /v1/server; out has room for CONFIG_MAX_LIMITS. */
enum { CONFIG_MAX_LIMITS = 32 };
size_t config_limits(const struct config *c, struct api_limit out[CONFIG_MAX_LIMITS]);

#endif
