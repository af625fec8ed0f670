#ifndef SEQMSE_ORT_OPS_H
#define SEQMSE_ORT_OPS_H

/* The operators of the domain ORT_OPS_DOMAIN (see ort.h), for one session. A part of ort.c: nobody else includes it. */

#include "core/run/ort.h"

#include <onnxruntime_c_api.h>

struct ort_ops_domain;

/* Makes the domain and adds it to the options. It must outlive the session that is made with them; *ops and what it points to, too. */
struct ort_ops_domain *ort_ops_new(const OrtApi *api, OrtSessionOptions *options, const struct ort_ops *ops, struct err *e);
void ort_ops_free(struct ort_ops_domain *d);

/* What observe() said when it failed in the run that has just ended; its code is ERR_NONE where it did not. Forgets it. */
struct err ort_ops_failure(struct ort_ops_domain *d);

#endif
