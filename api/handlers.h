#ifndef SEQMSED_HANDLERS_H
#define SEQMSED_HANDLERS_H

/* The handlers that the route table names. Each fills the response completely. A check comes before the body and leaves the
 * status 0 where it has nothing against the request. */

#include "api/routes.h"

#define HANDLER(name) void name(const struct api *a, struct http_request *q, struct http_response *r)

/* objects.c */
HANDLER(objects_check);
HANDLER(models_add);
HANDLER(models_list);
HANDLER(models_get);
HANDLER(models_change);
HANDLER(models_delete);
HANDLER(models_content);
HANDLER(calibrations_add);
HANDLER(calibrations_list);
HANDLER(calibrations_get);
HANDLER(calibrations_change);
HANDLER(calibrations_delete);
HANDLER(calibrations_content);
HANDLER(encodings_files_add);
HANDLER(encodings_files_list);
HANDLER(encodings_files_get);
HANDLER(encodings_files_change);
HANDLER(encodings_files_delete);
HANDLER(encodings_files_content);
/* models.c */
HANDLER(models_layers);
HANDLER(models_file_check);
HANDLER(models_file_add);
/* calibrations.c */
HANDLER(calibrations_check);
/* uploads.c */
HANDLER(uploads_options);
HANDLER(uploads_add_check);
HANDLER(uploads_add);
HANDLER(uploads_patch_check);
HANDLER(uploads_patch);
HANDLER(uploads_get);
HANDLER(uploads_delete);
/* jobs.c */
HANDLER(jobs_list);
HANDLER(jobs_get);
HANDLER(jobs_made); /* no route's: the answer to a request that made a job and waits for it */
HANDLER(jobs_change);
HANDLER(jobs_cancel);
HANDLER(jobs_pause);
HANDLER(jobs_resume);
HANDLER(jobs_delete);
/* submit.c */
HANDLER(jobs_add);
HANDLER(jobs_retry);
/* results.c */
HANDLER(results_layers);
HANDLER(results_curve);
HANDLER(results_events);
HANDLER(results_logs);
HANDLER(results_encodings);
HANDLER(results_artifacts);
HANDLER(results_artifact);
/* tickets.c */
HANDLER(tickets_add);
/* openapi.c */
HANDLER(openapi_get);
/* meta.c */
HANDLER(meta_queue);
HANDLER(meta_server);
HANDLER(meta_metrics);
HANDLER(meta_live);
HANDLER(meta_ready);
HANDLER(meta_health);
/* web.c */
HANDLER(web_index);
HANDLER(web_file);

#endif
