#ifndef SEQMSED_CALL_H
#define SEQMSED_CALL_H

/* A request to an engine child: the JSON of server/engine/engine.h and the descriptors that it speaks of.
 *
 *     call_init(&c, "model"); call_model(&c, fd); call_end(&c, &e) … child_start(…, c.text.data, c.text.len, c.fds, c.nfds,
 * …); call_fini(&c);
 *
 * Descriptors that are added become the call's, also when adding fails. */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/json.h"
#include "core/workflow/params.h"

#include <stdbool.h>

struct api_object;
struct blobs;
struct speed;

struct call {
	struct buf text;
	struct json_out w;
	int *fds;
	size_t nfds;
	bool limited;
};

void call_init(struct call *c, const char *mode);
int call_model(struct call *c, int fd, struct err *e);
int call_calibration(struct call *c, int fd, struct err *e);
int call_evaluation(struct call *c, int fd, struct err *e);
/* The model's external files out of the blobs; extra (a descriptor, or -1) stands for the file named extra_name. */
int call_files(struct call *c, const struct blobs *b, const struct api_object *m, const char *extra_name, int extra, struct err *e);
/* An encodings file to look at, or to start from. */
int call_loaded(struct call *c, int fd, struct err *e);
/* Lines for the engine to read, in memory. */
int call_known(struct call *c, const struct buf *lines, struct err *e);
/* An empty file for activations. */
int call_spill(struct call *c, int fd, struct err *e);
/* What the child may use, 0: as much as there is; an inspection that does not say gets what files of that size can need. */
void call_limits(struct call *c, int64_t memory_bytes, int64_t cpu_seconds, int64_t file_bytes);
void call_fingerprint(struct call *c, const char *fingerprint); /* for the report */
void call_rates(struct call *c, struct speed *s);               /* what is known of the machine */
void call_params(struct call *c, const struct params *p);
int call_end(struct call *c, struct err *e);
void call_fini(struct call *c);

#endif
