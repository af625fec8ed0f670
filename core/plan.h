#ifndef SEQMSE_PLAN_H
#define SEQMSE_PLAN_H

/* In which order a model is run and searched.
 *
 * The walk has stages. A stage first runs a piece of the graph, batch by batch, on what earlier stages left behind, then searches
 * the layers whose inputs are there. Layers of one stage do not depend on each other. Nodes run in the first stage that can run them, once; a
 * searched layer itself runs with its quantized weight in a stage after its search. Nodes that no later search needs do not run at
 * all. Static nodes are in no list: a sub-model brings what it needs of them.
 */

#include "layers.h"
#include "onnx_model.h"

struct plan_stage {
	int *nodes;   /* to run, ascending */
	size_t nnodes;
	int *feeds;   /* values that the nodes read: graph inputs, or made by earlier stages */
	size_t nfeeds;
	int *makes;   /* values made here that a search or a later stage reads */
	size_t nmakes;
	int *layers;  /* indices of the layers to search, ascending */
	size_t nlayers;
	int *drops;   /* values that nobody needs after this stage */
	size_t ndrops;
};

struct plan {
	struct plan_stage *stages;
	size_t nstages;
};

int plan_new(const struct onnx_model *m, const struct layer *layers, int nlayers, struct plan *p, struct err *e);
void plan_fini(struct plan *p);

#endif
