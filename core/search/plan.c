#include "core/search/plan.h"

#include <stdlib.h>
#include <string.h>

/* What is worked out for every node and value before the lists are filled. */
struct sheet {
	const struct onnx_model *m;
	const struct layer *layers;
	int nlayers;
	int *layer_of; /* [nodes] index of a searched layer, or of one that shares a searched weight; -1 */
	int *stage_of; /* [depth] first stage whose layers are at least that deep */
	int max_depth, nstages;
	int *runs_in;     /* [nodes] stage, -1: never */
	int *twins_in;    /* [nodes] stage in which it makes twins, -1: never */
	int *made_in;     /* [values] stage; -1: a graph input, a constant, or never made */
	int values;       /* twins have the numbers from here on */
	bool *differs;    /* [values] between the streams */
	int *last_use;    /* [values and twins] stage of the last reader or search; -1: none */
	int *last_search; /* [values and twins] stage of the last search on it; -1: none */
	bool *needed;     /* [values and twins] */
	bool *handed_on;  /* [values and twins] read outside the part that makes it */
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
	s->twins_in = filled(nodes, -1);
	s->made_in = filled(values, -1);
	s->values = (int)values;
	s->differs = calloc(values + 1, sizeof *s->differs);
	s->last_use = filled(2 * values, -1);
	s->last_search = filled(2 * values, -1);
	s->needed = calloc(2 * values + 1, sizeof *s->needed);
	s->handed_on = calloc(2 * values + 1, sizeof *s->handed_on);
	bool ok = s->layer_of && s->stage_of && s->runs_in && s->twins_in && s->made_in && s->differs && s->last_use &&
	          s->last_search && s->needed && s->handed_on;
	return ok ? 0 : err_nomem(e, "the plan");
}

static void sheet_fini(struct sheet *s)
{
	free(s->layer_of);
	free(s->stage_of);
	free(s->runs_in);
	free(s->twins_in);
	free(s->made_in);
	free(s->differs);
	free(s->last_use);
	free(s->last_search);
	free(s->needed);
	free(s->handed_on);
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

/* Values behind a searched weight. */
static void mark_differing(struct sheet *s)
{
	for (int i = 0; i < onnx_model_nodes(s->m); i++) {
		const struct onnx_node *n = onnx_model_node(s->m, i);
		bool differs = s->layer_of[i] >= 0;
		for (int k = 0; k < n->ninputs + n->ncaptured && !differs; k++)
			differs = each_input(n, k) >= 0 && s->differs[each_input(n, k)];
		for (int k = 0; k < n->noutputs && differs && !n->is_static; k++)
			if (n->outputs[k] >= 0)
				s->differs[n->outputs[k]] = true;
	}
}

/* The number of what the float network has for a value. */
static int twin_of(const struct sheet *s, int v)
{
	return s->differs[v] ? v + s->values : v;
}

static void use(struct sheet *s, int v, int stage)
{
	s->needed[v] = true;
	if (stage > s->last_use[v])
		s->last_use[v] = stage;
}

static bool makes_needed(const struct sheet *s, const struct onnx_node *n, int offset)
{
	for (int k = 0; k < n->noutputs; k++)
		if (n->outputs[k] >= 0 && s->needed[n->outputs[k] + offset])
			return true;
	return false;
}

/* Marks what a node's run in a stage reads, of its own stream. */
static void use_inputs(struct sheet *s, const struct onnx_node *n, bool twins, int stage)
{
	for (int k = 0; k < n->ninputs + n->ncaptured; k++) {
		int v = each_input(n, k);
		if (v < 0)
			continue;
		int read = twins ? twin_of(s, v) : v;
		use(s, read, stage);
		if (s->made_in[v] < stage || (twins && read == v))
			s->handed_on[read] = true;
	}
}

static void use_searched(struct sheet *s, const struct layer *l)
{
	int both[2] = {l->x, twin_of(s, l->x)}, stage = s->stage_of[l->depth];
	for (int i = 0; i < 2; i++) {
		use(s, both[i], stage);
		s->last_search[both[i]] = stage > s->last_search[both[i]] ? stage : s->last_search[both[i]];
		s->handed_on[both[i]] = true;
	}
}

/* Backwards from the searched layers' inputs: who is needed, and until when. */
static void mark_needed(struct sheet *s)
{
	for (int i = 0; i < s->nlayers; i++)
		if (layer_is_searched(s->layers, i) && s->layers[i].settings.search != SEARCH_OFF)
			use_searched(s, &s->layers[i]);
	for (int i = onnx_model_nodes(s->m) - 1; i >= 0; i--) {
		const struct onnx_node *n = onnx_model_node(s->m, i);
		int stage = s->runs_in[i];
		s->runs_in[i] = -1;
		if (n->is_static || stage >= s->nstages)
			continue;
		if (makes_needed(s, n, s->values)) {
			s->twins_in[i] = stage;
			use_inputs(s, n, true, stage);
		}
		if (makes_needed(s, n, 0)) {
			s->runs_in[i] = stage;
			use_inputs(s, n, false, stage);
		}
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
	const struct onnx_value *x = onnx_model_value(s->m, v % s->values);
	return s->needed[v] && !x->is_static && !x->is_input && s->made_in[v % s->values] >= 0;
}

/* Whether a part has to be fed a value that one of its nodes reads. */
static bool comes_from_outside(const struct sheet *s, int v, bool twins, int stage)
{
	if (onnx_model_value(s->m, v % s->values)->is_input)
		return true;
	return is_live(s, v) && (s->made_in[v % s->values] < stage || (twins && v < s->values));
}

static int list_node(const struct sheet *s, int node, bool twins, int stage, struct plan_part *part, struct err *e)
{
	const struct onnx_node *n = onnx_model_node(s->m, node);
	if (push(&part->nodes, &part->nnodes, node, e))
		return -1;
	for (int k = 0; k < n->ninputs + n->ncaptured; k++) {
		int v = each_input(n, k);
		if (v < 0)
			continue;
		v = twins ? twin_of(s, v) : v;
		bool outside = comes_from_outside(s, v, twins, stage), seen = false;
		for (size_t f = 0; outside && f < part->nfeeds && !seen; f++)
			seen = part->feeds[f] == v;
		if (outside && !seen && push(&part->feeds, &part->nfeeds, v, e))
			return -1;
	}
	return 0;
}

static int list_nodes(const struct sheet *s, struct plan_stage *stages, struct err *e)
{
	int rc = 0;
	for (int i = 0; i < onnx_model_nodes(s->m) && !rc; i++) {
		int at = s->runs_in[i], twins = s->twins_in[i];
		if (at >= 0)
			rc = list_node(s, i, false, at, &stages[at].quantized, e);
		if (twins >= 0 && !rc)
			rc = list_node(s, i, true, twins, &stages[twins].twins, e);
	}
	return rc;
}

/* Where the value ends: with its last stage, or already with each batch when no search in that stage reads it. */
static int list_end(const struct sheet *s, struct plan_stage *stages, int v, struct err *e)
{
	struct plan_stage *last = &stages[s->last_use[v]];
	if (s->last_search[v] < s->last_use[v])
		return push(&last->spends, &last->nspends, v, e);
	return push(&last->drops, &last->ndrops, v, e);
}

static int list_values(const struct sheet *s, struct plan_stage *stages, struct err *e)
{
	int rc = 0;
	for (int v = 0; v < 2 * s->values && !rc; v++) {
		if (s->last_use[v] >= 0 && onnx_model_value(s->m, v % s->values)->is_input)
			rc = list_end(s, stages, v, e);
		if (!s->handed_on[v] || !is_live(s, v) || s->made_in[v % s->values] >= s->nstages)
			continue;
		struct plan_stage *made = &stages[s->made_in[v % s->values]];
		struct plan_part *part = v < s->values ? &made->quantized : &made->twins;
		rc = push(&part->makes, &part->nmakes, v, e);
		if (!rc)
			rc = list_end(s, stages, v, e);
	}
	return rc;
}

static bool is_pointwise(const struct layer *l)
{
	return l->groups == 1 && l->kernel[0] == 1 && l->kernel[1] == 1 && l->kernel[2] == 1;
}

static void mark_pointwise(const struct sheet *s, struct plan_stage *stages)
{
	for (int i = 0; i < s->nstages; i++)
		stages[i].quantized.pointwise = stages[i].twins.pointwise = true;
	for (int i = 0; i < s->nlayers; i++) {
		const struct layer *l = &s->layers[i];
		if (l->op != LAYER_CONV || is_pointwise(l))
			continue;
		if (s->runs_in[l->node] >= 0)
			stages[s->runs_in[l->node]].quantized.pointwise = false;
		if (s->twins_in[l->node] >= 0)
			stages[s->twins_in[l->node]].twins.pointwise = false;
	}
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

int plan_new(const struct onnx_model *m, const struct layer *layers, int nlayers, bool two_streams, struct plan *p, struct err *e)
{
	struct sheet s = {.m = m, .layers = layers, .nlayers = nlayers};
	int rc = -1;
	*p = (struct plan){0};
	if (sheet_alloc(&s, e))
		goto out;
	number_stages(&s);
	place_nodes(&s);
	if (two_streams)
		mark_differing(&s);
	mark_needed(&s);
	p->values = s.values;
	p->stages = calloc((size_t)s.nstages + 1, sizeof *p->stages);
	p->nstages = (size_t)s.nstages;
	if (!p->stages) {
		err_nomem(e, "the plan");
		goto out;
	}
	mark_pointwise(&s, p->stages);
	rc = list_nodes(&s, p->stages, e);
	if (!rc)
		rc = list_values(&s, p->stages, e);
	if (!rc)
		rc = list_layers(&s, p->stages, e);
	if (two_streams) {
		p->differs = s.differs;
		s.differs = NULL;
	}
out:
	sheet_fini(&s);
	if (rc)
		plan_fini(p);
	return rc;
}

static void part_fini(struct plan_part *p)
{
	free(p->nodes);
	free(p->feeds);
	free(p->makes);
}

void plan_fini(struct plan *p)
{
	for (size_t i = 0; i < p->nstages && p->stages; i++) {
		part_fini(&p->stages[i].quantized);
		part_fini(&p->stages[i].twins);
		free(p->stages[i].layers);
		free(p->stages[i].drops);
		free(p->stages[i].spends);
	}
	free(p->stages);
	free(p->differs);
	*p = (struct plan){0};
}

int plan_twin(const struct plan *p, int value)
{
	return p->differs && p->differs[value] ? value + p->values : -1;
}
