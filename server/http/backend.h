#ifndef SEQMSED_BACKEND_SERVER_H
#define SEQMSED_BACKEND_SERVER_H

/* The daemon behind api's handlers: fills struct api_backend with functions over the store, the probes and the workers. */

#include "api/backend.h"
#include "server/config.h"
#include "server/engine/probe.h"

struct store;
struct pool;
struct watch;
struct metrics;
struct auth;
struct guests;
struct speed;

struct backend {
	const struct config *config;
	struct store *store;
	struct pool *pool;
	struct watch *watch;
	struct metrics *metrics;
	struct auth *auth;
	struct api_backend self; /* these functions, for those that use each other */
	struct guests *guests;
	struct speed *speed;
	struct probe probe;
	char runtime[64];      /* ONNX Runtime's version; "" where it was not found */
	char runtime_why[256]; /* then */
	int64_t started;       /* monotonic */
	struct api_limit limits[CONFIG_MAX_LIMITS];
	size_t nlimits;
};

/* Asks a child for the runtime's version and fills the rest; the members above started are set by the caller. */
void backend_init(struct backend *b);
void backend_fill(struct backend *b, struct api_backend *out);

/* The parts of it, a file each. */
void backend_fill_objects(struct api_backend *out);
void backend_fill_models(struct api_backend *out);
void backend_fill_uploads(struct api_backend *out);
void backend_fill_jobs(struct api_backend *out);

/* A stored file, to be sent. Takes over name and media_type (malloc'ed, or NULL), after an error, too. */
int backend_open_blob(const struct backend *b, const char *sha256, char *name, char *media_type, struct api_blob *out,
                      struct err *e);

/* How a file of calibration data, or of data to evaluate on, feeds a model under these settings; out of the cache or from an inspection. 0 with the samples;
 * what does not fit is the error. */
int backend_fit(struct backend *b, const struct api_object *m, const char *sha256, const struct params *p, bool evaluation,
                int64_t *samples, int64_t *samples_used, struct err *e);

/* What a job would take, as quantize_estimate_json() writes it, and its layers, as inspect_layers_json() does; malloc'ed. */
int backend_estimate(struct backend *b, const struct api_caller *who, const struct api_object *m, const char *calibration_sha256,
                     const struct params *p, char **estimate, char **layers, struct err *e);

#endif
