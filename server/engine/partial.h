#ifndef SEQMSED_PARTIAL_H
#define SEQMSED_PARTIAL_H

/* Encodings of a job that has not ended well (yet): of the weights of those layers that are finished, and of nothing else. */

#include "core/encodings/encodings.h"
#include "core/workflow/params.h"

/* frames: the layers' frames, a line each (store_job_frames()). ERR_BAD_STATE where there is none. Appends the file's text. */
int partial_encodings(const struct buf *frames, const struct params *p, enum encodings_version v, struct buf *out, struct err *e);

#endif
