#include "core/run/ort_ops.h"

#include "core/base/half.h"

#include <stdlib.h>
#include <string.h>

/* Each operator exists once for each element type, under one name; the runtime picks by type. */
enum op_kind { OP_FAKE, OP_OBSERVE };

static const struct {
	enum op_kind kind;
	ONNXTensorElementDataType type;
} variants[] = {
	{OP_FAKE, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},      {OP_FAKE, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
	{OP_FAKE, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16},   {OP_OBSERVE, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
	{OP_OBSERVE, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16}, {OP_OBSERVE, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16},
};

enum { NVARIANTS = sizeof variants / sizeof *variants, TILE = 1 << 14 /* elements that a thread takes at a time */ };

struct own_op {
	OrtCustomOp base; /* first: the runtime gives back a pointer to it */
	const OrtApi *api;
	struct ort_ops_domain *domain;
	enum op_kind kind;
	ONNXTensorElementDataType type;
};

struct ort_ops_domain {
	const OrtApi *api;
	OrtCustomOpDomain *domain;
	const struct ort_ops *ops;
	struct own_op own[NVARIANTS];
	struct err failure;
};

struct kernel {
	const struct own_op *op;
	int64_t slot;
};

/* ---- numbers ---- */

/* A tensor that is being quantized, tile by tile. */
struct work {
	const struct ort_fake *how;
	ONNXTensorElementDataType type;
	const void *in;
	void *out;
	size_t n;
};

static void fake_floats(const struct ort_fake *how, size_t n, const float *in, float *out)
{
	if (how->kind == ORT_FAKE_GRID)
		quant_fake(how->grid, n, in, out);
	for (size_t i = 0; how->kind == ORT_FAKE_HALF && i < n; i++)
		out[i] = half_to_float(half_from_float(in[i]));
}

static void fake_halves(const struct work *w, size_t n, const uint16_t *in, uint16_t *out)
{
	enum { CHUNK = 1024 };
	bool bf = w->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
	float x[CHUNK];
	for (size_t at = 0; at < n; at += CHUNK) {
		size_t len = n - at < CHUNK ? n - at : CHUNK;
		for (size_t i = 0; i < len; i++)
			x[i] = bf ? bfloat_to_float(in[at + i]) : half_to_float(in[at + i]);
		fake_floats(w->how, len, x, x);
		for (size_t i = 0; i < len; i++)
			out[at + i] = bf ? bfloat_from_float(x[i]) : half_from_float(x[i]);
	}
}

static void fake_tile(void *ctx, size_t tile)
{
	const struct work *w = ctx;
	size_t at = tile * TILE, n = w->n - at < TILE ? w->n - at : TILE;
	if (w->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
		fake_floats(w->how, n, (const float *)w->in + at, (float *)w->out + at);
	else
		fake_halves(w, n, (const uint16_t *)w->in + at, (uint16_t *)w->out + at);
}

/* ---- running ---- */

static OrtStatus *get_tensor(const OrtApi *api, const OrtValue *v, struct ort_tensor *t)
{
	OrtTensorTypeAndShapeInfo *info = NULL;
	void *data;
	OrtStatus *s = api->GetTensorTypeAndShape(v, &info);
	if (s)
		return s;
	s = api->GetDimensionsCount(info, &t->rank);
	if (!s && t->rank > ARRAY_MAX_RANK)
		s = api->CreateStatus(ORT_FAIL, "a tensor with too many dimensions");
	if (!s)
		s = api->GetDimensions(info, t->shape, t->rank);
	if (!s)
		s = api->GetTensorShapeElementCount(info, &t->count);
	if (!s)
		s = api->GetTensorMutableData((OrtValue *)(uintptr_t)v, &data);
	if (!s)
		t->data = data;
	api->ReleaseTensorTypeAndShapeInfo(info);
	return s;
}

static OrtStatus *fake(const struct kernel *k, OrtKernelContext *context, const struct ort_tensor *in, void *out)
{
	const struct ort_fake *how = &k->op->domain->ops->fakes[k->slot];
	struct work w = {how, k->op->type, in->data, out, in->count};
	size_t tiles = (in->count + TILE - 1) / TILE;
	if (how->kind == ORT_FAKE_NOT) {
		if (out != in->data)
			memcpy(out, in->data, in->count * (k->op->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT ? 4 : 2));
		return NULL;
	}
	if (tiles > 1)
		return k->op->api->KernelContext_ParallelFor(context, fake_tile, tiles, 0, &w);
	if (tiles)
		fake_tile(&w, 0);
	return NULL;
}

static OrtStatus *observe(const struct kernel *k, const struct ort_tensor *in)
{
	struct ort_ops_domain *d = k->op->domain;
	if (d->ops->observe(d->ops->ctx, k->slot, in, &d->failure))
		return d->api->CreateStatus(ORT_FAIL, d->failure.msg);
	return NULL;
}

static OrtStatus *compute(void *op_kernel, OrtKernelContext *context)
{
	const struct kernel *k = op_kernel;
	const OrtApi *api = k->op->api;
	const OrtValue *in;
	OrtValue *out;
	void *data;
	struct ort_tensor t = {.elem_type = (int)k->op->type};
	OrtStatus *s = api->KernelContext_GetInput(context, 0, &in);
	if (!s)
		s = get_tensor(api, in, &t);
	if (!s)
		s = api->KernelContext_GetOutput(context, 0, t.shape, t.rank, &out);
	if (!s)
		s = api->GetTensorMutableData(out, &data);
	if (s)
		return s;
	if (k->op->kind == OP_FAKE)
		return fake(k, context, &t, data);
	if (data != t.data && t.count) /* a graph output has memory of its own */
		memcpy(data, t.data, t.count * (k->op->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT ? 4 : 2));
	return observe(k, &t);
}

static OrtStatus *create(const OrtCustomOp *base, const OrtApi *api, const OrtKernelInfo *info, void **kernel)
{
	const struct own_op *op = (const struct own_op *)(const void *)base;
	struct kernel *k = calloc(1, sizeof *k);
	if (!k)
		return api->CreateStatus(ORT_FAIL, "not enough memory");
	k->op = op;
	OrtStatus *s = api->KernelInfoGetAttribute_int64(info, ORT_OPS_SLOT, &k->slot);
	if (!s && (k->slot < 0 || (op->kind == OP_FAKE && (size_t)k->slot >= op->domain->ops->nfakes)))
		s = api->CreateStatus(ORT_FAIL, "no such slot");
	if (s)
		free(k);
	else
		*kernel = k;
	return s;
}

static void destroy(void *kernel)
{
	free(kernel);
}

/* ---- what the runtime asks about an operator ---- */

static const char *name_of(const OrtCustomOp *base)
{
	return ((const struct own_op *)(const void *)base)->kind == OP_FAKE ? ORT_OPS_FAKE_QUANTIZE : ORT_OPS_OBSERVE;
}

static const char *provider_of(const OrtCustomOp *base)
{
	(void)base;
	return NULL; /* the CPU */
}

static ONNXTensorElementDataType type_of(const OrtCustomOp *base, size_t i)
{
	(void)i;
	return ((const struct own_op *)(const void *)base)->type;
}

static size_t one(const OrtCustomOp *base)
{
	(void)base;
	return 1;
}

static OrtCustomOpInputOutputCharacteristic required(const OrtCustomOp *base, size_t i)
{
	(void)base;
	(void)i;
	return INPUT_OUTPUT_REQUIRED;
}

static OrtMemType memory_of(const OrtCustomOp *base, size_t i)
{
	(void)base;
	(void)i;
	return OrtMemTypeDefault;
}

static int first_version(const OrtCustomOp *base)
{
	(void)base;
	return 1;
}

static int last_version(const OrtCustomOp *base)
{
	(void)base;
	return INT32_MAX;
}

/* Output 0 in the place of input 0. */
static size_t first_for_first(int **in, int **out)
{
	*in = calloc(1, sizeof **in);
	*out = calloc(1, sizeof **out);
	if (*in && *out)
		return 1;
	free(*in);
	free(*out);
	return 0;
}

static void release_map(int *in, int *out)
{
	free(in);
	free(out);
}

static void describe(struct own_op *op)
{
	op->base = (OrtCustomOp){
		.version = ORT_API_VERSION,
		.GetName = name_of,
		.GetExecutionProviderType = provider_of,
		.GetInputType = type_of,
		.GetInputTypeCount = one,
		.GetOutputType = type_of,
		.GetOutputTypeCount = one,
		.KernelDestroy = destroy,
		.GetInputCharacteristic = required,
		.GetOutputCharacteristic = required,
		.GetInputMemoryType = memory_of,
		.CreateKernelV2 = create,
		.KernelComputeV2 = compute,
		.GetStartVersion = first_version,
		.GetEndVersion = last_version,
	};
	if (op->kind == OP_FAKE) { /* may, where nobody else reads the input */
		op->base.GetMayInplace = first_for_first;
		op->base.ReleaseMayInplace = release_map;
	} else { /* always: nothing is written */
		op->base.GetAliasMap = first_for_first;
		op->base.ReleaseAliasMap = release_map;
	}
}

/* ---- the domain ---- */

static OrtStatus *add_all(struct ort_ops_domain *d, OrtSessionOptions *options)
{
	OrtStatus *s = d->api->CreateCustomOpDomain(ORT_OPS_DOMAIN, &d->domain);
	for (int i = 0; i < NVARIANTS && !s; i++) {
		d->own[i].api = d->api;
		d->own[i].domain = d;
		d->own[i].kind = variants[i].kind;
		d->own[i].type = variants[i].type;
		describe(&d->own[i]);
		s = d->api->CustomOpDomain_Add(d->domain, &d->own[i].base);
	}
	return s ? s : d->api->AddCustomOpDomain(options, d->domain);
}

struct ort_ops_domain *ort_ops_new(const OrtApi *api, OrtSessionOptions *options, const struct ort_ops *ops, struct err *e)
{
	struct ort_ops_domain *d = calloc(1, sizeof *d);
	if (!d) {
		err_nomem(e, "a session");
		return NULL;
	}
	d->api = api;
	d->ops = ops;
	OrtStatus *s = add_all(d, options);
	if (s) {
		err_set(e, ERR_ORT, "our own operators: %s", api->GetErrorMessage(s));
		api->ReleaseStatus(s);
		ort_ops_free(d);
		return NULL;
	}
	return d;
}

void ort_ops_free(struct ort_ops_domain *d)
{
	if (!d)
		return;
	if (d->domain)
		d->api->ReleaseCustomOpDomain(d->domain);
	free(d);
}

struct err ort_ops_failure(struct ort_ops_domain *d)
{
	struct err e = d->failure;
	d->failure = (struct err)ERR_INIT;
	return e;
}
