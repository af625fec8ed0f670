#ifndef SEQMSE_QUANTIZE_SETTINGS_H
#define SEQMSE_QUANTIZE_SETTINGS_H

/* The job's settings as those of the parts of the workflow. */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/quantsim/quantsim.h"
#include "core/simulate/calibrate.h"
#include "core/simulate/evaluate.h"
#include "core/workflow/params.h"

/* For the table in params.c: `config` is the name of a built-in configuration or an object according to the schema. */
int quantize_check_config(const struct json *v, struct err *e);

/* *config gets the text that *out points into; buf_fini() it after use. */
int quantize_quantsim_settings(const struct params *p, struct buf *config, struct quantsim_settings *out, struct err *e);

/* For the table in params.c: `evaluate` is {"labels", "metric", "output", "top_k", "calibration"}, any of them; the last names the data and is the caller's
 * business. */
int quantize_check_evaluate(const struct json *v, struct err *e);

/* *tree owns the texts in *out; json_free() it after use. */
int quantize_evaluate_settings(const struct params *p, struct json **tree, struct evaluate_settings *out, struct err *e);

struct calibrate_settings quantize_calibrate_settings(const struct params *p);

#endif
