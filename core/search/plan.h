#ifndef SEQMSE_PLAN_H
#define SEQMSE_PLAN_H

/* In which order a model is run and searched.
 *
 * The walk has stages. A stage first runs a piece of the graph, batch by batch, on what earlier stages left behind, then searches
 * the layers whose inputs are there. Layers of one stage do not depend on each other. Nodes run in the first stage that can run them, once; a
 * searched layer itself runs with its quantized weight in a stage after its search. Nodes that no later search needs do not run at
 * all. Static nodes are in no list: a sub-model brings what it needs of them.
 *
 * Where the float side of a search is to see the float network's input, there are two streams: the network with the quantized weights, and beside it
 * the float network's version of every value that differs. Such a twin has a number of its own, plan_twin(). What does not differ is computed once.
 */

#include "core/onnx/onnx_model.h"
#include "core/search/layers.h"

/* A part of the graph. */
struct plan_part {
	int *nodes; /* to run, ascending */
	size_t nnodes;
	bool pointwise; /* every Conv among them looks at single pixels */
	int *feeds;     /* values that the nodes read: graph inputs, or made before */
	size_t nfeeds;
	int *makes; /* values made here that a search or a later part reads */
	size_t nmakes;
};

struct plan_stage {
	struct plan_part quantized; /* with the weights found so far */
	struct plan_part twins;     /* after it, with the float weights: makes twins; empty where there is one stream */
	int *layers;                /* indices of the layers to search, ascending */
	size_t nlayers;
	int *drops; /* values that nobody needs after this stage */
	size_t ndrops;
	int *spends; /* values, not in drops, that nobody needs after the parts have run: a batch of them can go with the batch */
	size_t nspends;
};

struct plan {
	struct plan_stage *stages;
	size_t nstages;
	int values;    /* of the model; twins have the numbers from here on */
	bool *differs; /* [values] which have a twin; NULL for one stream */
};

int plan_new(const struct onnx_model *m, const struct layer *layers, int nlayers, bool two_streams, struct plan *p, struct err *e);
void plan_fini(struct plan *p);

/* The number of a value's float version: -1 where both streams have the same. */
int plan_twin(const struct plan *p, int value);

#endif
