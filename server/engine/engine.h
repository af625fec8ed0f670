#ifndef SEQMSED_ENGINE_H
#define SEQMSED_ENGINE_H

/* Inside the engine child: the request, and the two kinds of work. The request is JSON on fd 0:
 *
 *     {"mode": "version" | "model" | "calibration" | "encodings" | "estimate" | "search", "parent": PID, "model": FD, "calibration": FD, "evaluation": FD,
 *      "loaded": FD, "files": [{"name": "weights.data", "fd": FD}], "params": {…}, "fingerprint", "known": FD, "spill": FD,
 *      "rates": [{…} …],
 *      "limits": {"memory_bytes", "cpu_seconds", "file_bytes"}}
 *
 * "version" tells of the runtime. "model" inspects a model, with its external data when files are given. "calibration" lists
 * a set's arrays (that of evaluation, where there is no calibration) and, when there is a model, whether it feeds it. "encodings" reads
 * the encodings file that is loaded; an estimate or a search gets it as the setting load_encodings. "estimate" says what the job would take, and
 * what was measured for it where the rates had no set for this machine and threads (core/search/rates.h). "search" does the job; known holds what earlier
 * attempts found (server/engine/resume.h), spill is an empty file. Before it looks at any file, the child closes itself in
 * (server/engine/sandbox.h). Answers are frames on fd 3.
 */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/onnx/onnx_model.h"
#include "core/search/rates.h"
#include "core/workflow/machine.h"
#include "core/workflow/params.h"

enum { ENGINE_FRAMES = 3 };

struct engine_request {
	struct json *root; /* owns the texts */
	const char *mode;
	int parent;
	int model, calibration, evaluation, loaded, known, spill; /* -1 where there is none */
	int last;                                                 /* the largest of all descriptors */
	int64_t memory_bytes, cpu_seconds, file_bytes;    /* limits */
	char machine[MACHINE_ID];                         /* of a search or an estimate; "" where nobody knows it */
	struct rates rates;                               /* of an estimate */
	bool measured;                                    /* they were measured by this child */
	struct onnx_external *files;
	size_t nfiles;
	const char *fingerprint; /* of a search */
	struct params params;
};

/* Each writes its frames but not the error. */
int engine_version(struct err *e);
int engine_inspect_model(const struct engine_request *q, struct err *e);
int engine_inspect_calibration(const struct engine_request *q, struct err *e);
int engine_inspect_encodings(const struct engine_request *q, struct err *e);
int engine_estimate(const struct engine_request *q, struct err *e);
int engine_search(const struct engine_request *q, struct err *e);

/* Fills the rates, from the request or by measuring; before the walls are up. */
int engine_rates(struct engine_request *q, struct err *e);

/* The request's model, with its files when there are some; NULL on error. */
struct onnx_model *engine_open_model(const struct engine_request *q, struct err *e);

struct arrays;

/* Makes images into numbers as the request's settings say. Data to evaluate on may be arrays where those to calibrate with are images. */
int engine_preprocess(const struct engine_request *q, struct arrays *z, bool evaluation, struct err *e);
/* The request's data, opened and preprocessed. */
struct arrays *engine_open_data(const struct engine_request *q, bool evaluation, struct err *e);

/* The child's main: `seqmsed engine`. Not meant to be started by hand. */
int cmd_engine(int argc, char **argv);

#endif
