#ifndef SEQMSED_EVALUATION_H
#define SEQMSED_EVALUATION_H

/* The data that a job is to be evaluated on: a calibration set like any other, which its setting `evaluate` names. */

#include "api/backend.h"
#include "core/workflow/params.h"

/* Its id; "" where the job is not to be evaluated. ERR_BAD_PARAM where the setting names none. */
int evaluation_id(const struct params *p, char id[API_ID + 1], struct err *e);

#endif
