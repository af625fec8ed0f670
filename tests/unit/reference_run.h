#ifndef SEQMSED_TEST_REFERENCE_RUN_H
#define SEQMSED_TEST_REFERENCE_RUN_H

/* Runs of the reference: its settings, and its quantizers as encodings. Failures end the test. */

#include "whole_model.h"

#include "core/base/json.h"
#include "core/encodings/encodings.h"
#include "core/quantsim/quantsim.h"
#include "core/run/value_types.h"

enum { TINY_VARIANTS = 10 };
extern const char *const tiny_variants[TINY_VARIANTS];

struct reference_run {
	const struct json *settings, *quantizers;
	struct json *tiny;         /* VARIANT.json, which holds both of them, and more; NULL for real models */
	struct json *meta, *owned; /* a real model's files */
	struct whole whole;
	struct value_types *types;
	struct quantsim *qs;
	struct encodings x; /* of the reference's quantizers, with int32 biases and moved encodings */
};

/* The small network in data/tiny, one VARIANT of settings at a time. */
void reference_run_tiny(struct reference_run *r, const char *variant);
/* A real model, a folder in reference/golden of $SEQMSED_SHARED; false where it or its model is not at hand. */
bool reference_run_golden(struct reference_run *r, const char *name);
void reference_run_close(struct reference_run *r);

#endif
