#ifndef SEQMSED_JOB_JSON_H
#define SEQMSED_JOB_JSON_H

/* A job as JSON, the same wherever it is shown. */

#include "api/backend.h"
#include "api/routes.h"
#include "core/base/json.h"

void job_json(struct json_out *w, const struct api_job *j);
/* The answer to a request that made the job: 202, or a while later where the client prefers to wait. */
void job_reply_made(const struct api *a, struct http_request *q, struct http_response *r, const struct api_job *j);
void job_progress_json(struct json_out *w, const char *key, const struct api_job *j);
bool job_is_finished(const struct api_job *j);

#endif
