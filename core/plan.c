#include "plan.h"

#include <stdlib.h>
#include <string.h>

/* What is worked out for every node and value before the lists are filled. */
struct sheet {
	const struct onnx_model *m;
	const struct layer *layers;
	int nlayers;
	int *layer_of;    /* [nodes] index of a searched layer, or of one that shares a searched weight; -1 */
	int *stage_of;    /* [depth] first stage whose layers are at least that deep */
	int max_depth, nstages;
	int *runs_in;     /* [nodes] stage, -1: never */
	int *made_in;     /* [values] stage; -1: a graph input, a constant, or never made */
	int *last_use;    /* [values] stage of the last reader or search; -1: none */
	bool *needed;     /* [values] */
};

static int *filled(size_t n, int with)
{
	int *a = malloc((n + 1) * sizeof *a);
	for (size_t i = 0; a && i <= n; i++)
		a[i] = with;
	return a;
}

static int sheet_alloc(struct sheet *s, struct err *e)
{
	size_t nodes = (size_t)onnx_model_nodes(s->m), values = (size_t)onnx_model_values(s->m);
	for (int i = 0; i < s->nlayers; i++)
		if (s->layers[i].depth > s->max_depth)
			s->max_depth = s->layers[i].depth;
	s->layer_of = filled(nodes, -1);
	s->stage_of = filled((size_t)s->max_depth + 2, 0);
	s->runs_in = filled(nodes, -1);
	s->made_in = filled(values, -1);
	s->last_use = filled(values, -1);
	s->needed = calloc(values + 1, sizeof *s->needed);
	return s->layer_of && s->stage_of && s->runs_in && s->made_in && s->last_use && s->needed ? 0 : err_nomem(e, "the plan");
}

static void sheet_fini(struct sheet *s)
{
	free(s->layer_of);
	free(s->stage_of);
	free(s->runs_in);
	free(s->made_in);
	free(s->last_use);
	free(s->needed);
}

/* Depths that hold searched layers become stages 0, 1, …; stage_of[d] is the first stage of depth >= d. */
static void number_stages(struct sheet *s)
{
	for (int i = 0; i < s->nlayers; i++)
		if (s->layers[i].owner >= 0)
			s->layer_of[s->layers[i].node] = i;
	for (int d = 0; d <= s->max_depth; d++) {
		bool any = false;
		for (int i = 0; i < s->nlayers && !any; i++)
			any = layer_is_searched(s->layers, i) && s->layers[i].depth == d;
		s->stage_of[d] = s->nstages;
		s->nstages += any;
	}
	s->stage_of[s->max_depth + 1] = s->nstages;
}

static int each_input(const struct onnx_node *n, int k)
{
	return k < n->ninputs ? n->inputs[k] : n->captured[k - n->ninputs];
}

/* The first stage that can run each node: after its inputs are made, and after the search of its own weight. */
static void place_nodes(struct sheet *s)
{
	for (int i = 0; i < onnx_model_nodes(s->m); i++) {
		const struct onnx_node *n = onnx_model_node(s->m, i);
		if (n->is_static)
			continue;
		int stage = 0;
		for (int k = 0; k < n->ninputs + n->ncaptured; k++) {
			int v = each_input(n, k);
			if (v >= 0 && s->made_in[v] > stage)
				stage = s->made_in[v];
		}
		if (s->layer_of[i] >= 0) {
			int after = s->stage_of[s->layers[s->layer_of[i]].depth + 1];
			stage = after > stage ? after : stage;
		}
		s->runs_in[i] = stage;
		for (int k = 0; k < n->noutputs; k++)
			if (n->outputs[k] >= 0)
				s->made_in[n->outputs[k]] = stage;
	}
}

static void use(struct sheet *s, int v, int stage)
{
	s->needed[v] = true;
	if (stage > s->last_use[v])
		s->last_use[v] = stage;
}

/* Backwards from the searched layers' inputs: who is needed, and until when. */
static void mark_needed(struct sheet *s)
{
	for (int i = 0; i < s->nlayers; i++)
		if (layer_is_searched(s->layers, i))
			use(s, s->layers[i].x, s->stage_of[s->layers[i].depth]);
	for (int i = onnx_model_nodes(s->m) - 1; i >= 0; i--) {
		const struct onnx_node *n = onnx_model_node(s->m, i);
		bool any = false;
		for (int k = 0; k < n->noutputs; k++)
			any = any || (n->outputs[k] >= 0 && s->needed[n->outputs[k]]);
		if (!any || n->is_static || s->runs_in[i] >= s->nstages) {
			s->runs_in[i] = -1;
			continue;
		}
		for (int k = 0; k < n->ninputs + n->ncaptured; k++)
			if (each_input(n, k) >= 0)
				use(s, each_input(n, k), s->runs_in[i]);
	}
}

/* ---- lists ---- */

static int push(int **list, size_t *n, int x, struct err *e)
{
	int *grown = realloc(*list, (*n + 1) * sizeof *grown);
	if (!grown)
		return err_nomem(e, "the plan");
	*list = grown;
	grown[(*n)++] = x;
	return 0;
}

static bool is_live(const struct sheet *s, int v)
{
	const struct onnx_value *x = onnx_model_value(s->m, v);
	return s->needed[v] && !x->is_static && !x->is_input && s->made_in[v] >= 0;
}

static int list_nodes(const struct sheet *s, struct plan_stage *stages, struct err *e)
{
	for (int i = 0; i < onnx_model_nodes(s->m); i++) {
		const struct onnx_node *n = onnx_model_node(s->m, i);
		int at = s->runs_in[i];
		if (at < 0)
			continue;
		struct plan_stage *stage = &stages[at];
		if (push(&stage->nodes, &stage->nnodes, i, e))
			return -1;
		for (int k = 0; k < n->ninputs + n->ncaptured; k++) {
			int v = each_input(n, k);
			bool outside = v >= 0 && (onnx_model_value(s->m, v)->is_input || (is_live(s, v) && s->made_in[v] < at));
			bool seen = false;
			for (size_t f = 0; outside && f < stage->nfeeds && !seen; f++)
				seen = stage->feeds[f] == v;
			if (outside && !seen && push(&stage->feeds, &stage->nfeeds, v, e))
				return -1;
		}
	}
	return 0;
}

/* A value is handed on when a search or a later stage reads it. */
static int list_values(const struct sheet *s, struct plan_stage *stages, struct err *e)
{
	bool *searched = calloc((size_t)onnx_model_values(s->m) + 1, sizeof *searched);
	int rc = 0;
	if (!searched)
		return err_nomem(e, "the plan");
	for (int i = 0; i < s->nlayers; i++)
		if (layer_is_searched(s->layers, i))
			searched[s->layers[i].x] = true;
	for (int v = 0; v < onnx_model_values(s->m) && !rc; v++) {
		if (onnx_model_value(s->m, v)->is_input && s->last_use[v] >= 0)
			rc = push(&stages[s->last_use[v]].drops, &stages[s->last_use[v]].ndrops, v, e);
		if (!is_live(s, v) || s->made_in[v] >= s->nstages || (!searched[v] && s->last_use[v] <= s->made_in[v]))
			continue;
		struct plan_stage *makes = &stages[s->made_in[v]], *drops = &stages[s->last_use[v]];
		rc = push(&makes->makes, &makes->nmakes, v, e);
		if (!rc)
			rc = push(&drops->drops, &drops->ndrops, v, e);
	}
	free(searched);
	return rc;
}

static int list_layers(const struct sheet *s, struct plan_stage *stages, struct err *e)
{
	for (int i = 0; i < s->nlayers; i++) {
		struct plan_stage *stage = layer_is_searched(s->layers, i) ? &stages[s->stage_of[s->layers[i].depth]] : NULL;
		if (stage && push(&stage->layers, &stage->nlayers, i, e))
			return -1;
	}
	return 0;
}

int plan_new(const struct onnx_model *m, const struct layer *layers, int nlayers, struct plan *p, struct err *e)
{
	struct sheet s = {.m = m, .layers = layers, .nlayers = nlayers};
	int rc = -1;
	*p = (struct plan){0};
	if (sheet_alloc(&s, e))
		goto out;
	number_stages(&s);
	place_nodes(&s);
	mark_needed(&s);
	p->stages = calloc((size_t)s.nstages + 1, sizeof *p->stages);
	p->nstages = (size_t)s.nstages;
	if (!p->stages) {
		err_nomem(e, "the plan");
		goto out;
	}
	rc = list_nodes(&s, p->stages, e);
	if (!rc)
		rc = list_values(&s, p->stages, e);
	if (!rc)
		rc = list_layers(&s, p->stages, e);
out:
	sheet_fini(&s);
	if (rc)
		plan_fini(p);
	return rc;
}

void plan_fini(struct plan *p)
{
	for (size_t i = 0; i < p->nstages && p->stages; i++) {
		free(p->stages[i].nodes);
		free(p->stages[i].feeds);
		free(p->stages[i].makes);
		free(p->stages[i].layers);
		free(p->stages[i].drops);
	}
	free(p->stages);
	*p = (struct plan){0};
}
