#ifndef SEQMSED_ENGINE_H
#define SEQMSED_ENGINE_H

/* Inside the engine child: the request, and the two kinds of work. The request is JSON on fd 0:
 *
 *     {"mode": "version" | "model" | "calibration" | "search", "parent": PID, "model": FD, "calibration": FD,
 *      "files": [{"name": "weights.data", "fd": FD}], "params": {…}}
 *
 * "version" tells of the runtime. "model" inspects a model, with its external data when files are given. "calibration" lists
 * a set's arrays and, when there is a model, whether it feeds it. "search" does the job. Answers are frames on fd 3.
 */

#include "core/buf.h"
#include "core/err.h"
#include "core/onnx_model.h"
#include "core/params.h"

enum { ENGINE_FRAMES = 3 };

struct engine_request {
	struct json *root; /* owns the texts */
	const char *mode;
	int parent, model, calibration; /* model and calibration are -1 where there is none */
	struct onnx_external *files;
	size_t nfiles;
	struct params params;
};

/* Each writes its frames but not the error. */
int engine_version(struct err *e);
int engine_inspect_model(const struct engine_request *q, struct err *e);
int engine_inspect_calibration(const struct engine_request *q, struct err *e);
int engine_search(const struct engine_request *q, struct err *e);

/* The request's model, with its files when there are some; NULL on error. */
struct onnx_model *engine_open_model(const struct engine_request *q, struct err *e);

/* The child's main: `seqmsed engine`. Not meant to be started by hand. */
int cmd_engine(int argc, char **argv);

#endif
