#ifndef SEQMSED_TEST_WATCHED_H
#define SEQMSED_TEST_WATCHED_H

/* A search that a test looks on at: the model, its layers as the test finds them, and hooks that see every input and every result.
 * Failures end the test. */

#include "core/onnx/onnx_model.h"
#include "core/search/layers.h"
#include "core/search/seqmse.h"

struct watched {
	struct onnx_model *m;
	struct layer *layers;
	int n;
};

void watched_open(struct watched *w, const char *model, const struct params *p);
/* The searched layer that has the weight. */
int watched_layer(const struct watched *w, const char *weight);
/* Searches with the data and gives back how many layers there were. */
size_t watched_search(const struct watched *w, const char *calib, const struct params *p, const struct seqmse_hooks *hooks);
void watched_close(struct watched *w);

#endif
