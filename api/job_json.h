#ifndef SEQMSED_JOB_JSON_H
#define SEQMSED_JOB_JSON_H

/* A job as JSON, the same wherever it is shown. */

#include "api/backend.h"
#include "core/json.h"

void job_json(struct json_out *w, const struct api_job *j);
bool job_is_finished(const struct api_job *j);

#endif
