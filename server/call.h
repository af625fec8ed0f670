#ifndef SEQMSED_CALL_H
#define SEQMSED_CALL_H

/* A request to an engine child: the JSON of server/engine.h and the descriptors that it speaks of.
 *
 *     call_init(&c, "model"); call_model(&c, fd); call_end(&c, &e) … child_start(…, c.text.data, c.text.len, c.fds, c.nfds,
 * …); call_fini(&c);
 *
 * Descriptors that are added become the call's, also when adding fails. */

#include "core/buf.h"
#include "core/err.h"
#include "core/json.h"
#include "core/params.h"

struct api_model;
struct blobs;

struct call {
	struct buf text;
	struct json_out w;
	int *fds;
	size_t nfds;
};

void call_init(struct call *c, const char *mode);
int call_model(struct call *c, int fd, struct err *e);
int call_calibration(struct call *c, int fd, struct err *e);
/* The model's external files out of the blobs; extra (a descriptor, or -1) stands for the file named extra_name. */
int call_files(struct call *c, const struct blobs *b, const struct api_model *m, const char *extra_name, int extra, struct err *e);
void call_params(struct call *c, const struct params *p);
int call_end(struct call *c, struct err *e);
void call_fini(struct call *c);

#endif
