#include "watched.h"

#include "core/data/arrays.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err e = ERR_INIT;

static void must(bool ok)
{
	if (!ok)
		fail_msg("%s", e.msg);
}

void watched_open(struct watched *w, const char *model, const struct params *p)
{
	must((w->m = onnx_model_open(model, &e)));
	must(!layers_find(w->m, NULL, p, &w->layers, &w->n, &e));
}

int watched_layer(const struct watched *w, const char *weight)
{
	for (int i = 0; i < w->n; i++)
		if (layer_is_searched(w->layers, i) && strcmp(onnx_model_value(w->m, w->layers[i].weight)->name, weight) == 0)
			return i;
	fail_msg("no layer has the weight %s", weight);
	return -1;
}

size_t watched_search(const struct watched *w, const char *calib, const struct params *p, const struct seqmse_hooks *hooks)
{
	struct arrays *z = arrays_open(calib, &e);
	must(z);
	struct seqmse_result *r = seqmse_run(w->m, z, NULL, p, hooks, &e);
	must(r);
	size_t layers = seqmse_layers(r);
	seqmse_result_free(r);
	arrays_free(z);
	return layers;
}

void watched_close(struct watched *w)
{
	onnx_model_free(w->m);
	free(w->layers);
}
