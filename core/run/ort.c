#include "core/run/ort.h"

#include "core/base/blocks.h"
#include "core/run/ort_ops.h"

#include <dlfcn.h>
#include <onnxruntime_c_api.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Our blocks, as the runtime sees them. */
struct allocator {
	OrtAllocator base; /* first: the runtime hands its address back */
	OrtMemoryInfo *info;
	struct blocks *blocks;
};

struct ort {
	const OrtApi *api;
	OrtEnv *env;
	struct allocator *allocator;
	int threads;
};

struct ort_session {
	struct ort *o;
	OrtSession *session;
	struct ort_ops_domain *ops; /* NULL: none */
};

enum { KEEP = 256 << 20 }; /* unused memory that stays for the next tensors */

/* OrtValue is what we hand around; struct ort_value is never defined. */
static OrtValue *raw(const struct ort_value *v)
{
	return (OrtValue *)(uintptr_t)v;
}
static struct ort_value *wrap(OrtValue *v)
{
	return (struct ort_value *)(void *)v;
}

/* The runtime takes what an allocator gives as it is, and would write to NULL; what it understands is an exception of its own language. */
static void (*throw_bad_alloc)(void);

static const OrtApiBase *load(struct err *e)
{
	const char *places[] = {getenv("SEQMSED_ONNXRUNTIME"), "libonnxruntime.so.1"};
	void *lib = NULL;
	for (size_t i = 0; i < sizeof places / sizeof *places && !lib; i++)
		if (places[i] && *places[i])
			lib = dlopen(places[i], RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		err_set(e, ERR_ORT,
		        "ONNX Runtime cannot be loaded (run `make deps`, or set SEQMSED_ONNXRUNTIME to its library): %s",
		        dlerror());
		return NULL;
	}
	const OrtApiBase *(*get_base)(void);
	*(void **)&get_base = dlsym(lib, "OrtGetApiBase"); /* never closed: the runtime does not survive it */
	if (!get_base)
		err_set(e, ERR_ORT, "ONNX Runtime's library has no OrtGetApiBase");
	*(void **)&throw_bad_alloc = dlsym(lib, "_ZSt17__throw_bad_allocv"); /* std::__throw_bad_alloc() of its C++ library */
	return get_base ? get_base() : NULL;
}

const char *ort_version(struct err *e)
{
	const OrtApiBase *base = load(e);
	return base ? base->GetVersionString() : NULL;
}

/* Turns a status into an error: 0 where it is none. */
static int check(const OrtApi *api, OrtStatus *status, const char *what, struct err *e)
{
	if (!status)
		return 0;
	const char *why = api->GetErrorMessage(status);
	bool memory = strstr(why, "bad_alloc") || strstr(why, "Failed to allocate memory");
	err_set(e, memory ? ERR_MEMORY : ERR_ORT, "%s: %s", what, why);
	api->ReleaseStatus(status);
	return -1;
}

/* ---- memory ---- */

static void *ORT_API_CALL allocate(OrtAllocator *a, size_t size)
{
	void *block = blocks_take(((struct allocator *)(void *)a)->blocks, size);
	if (!block && size && throw_bad_alloc)
		throw_bad_alloc();
	return block;
}

static void ORT_API_CALL release(OrtAllocator *a, void *block)
{
	blocks_give(((struct allocator *)(void *)a)->blocks, block);
}

static const OrtMemoryInfo *ORT_API_CALL describe(const OrtAllocator *a)
{
	return ((const struct allocator *)(const void *)a)->info;
}

static struct allocator shared; /* by all environments, for they are one */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct err once_failed = ERR_INIT;

static void make_allocator(void)
{
	const OrtApi *api = load(&once_failed)->GetApi(ORT_API_VERSION);
	shared.base = (OrtAllocator){
		.version = ORT_API_VERSION, .Alloc = allocate, .Free = release, .Info = describe, .Reserve = allocate};
	shared.blocks = blocks_new(KEEP, &once_failed);
	(void)check(api, api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &shared.info), "ONNX Runtime",
	            &once_failed);
}

/* From here on every session and tensor takes its memory from the blocks. */
static int use_allocator(const OrtApi *api, OrtEnv *env, struct err *e)
{
	(void)pthread_once(&once, make_allocator);
	if (!shared.blocks || !shared.info) {
		*e = once_failed;
		return -1;
	}
	OrtStatus *status = api->RegisterAllocator(env, &shared.base);
	if (status) /* it is registered already */
		api->ReleaseStatus(status);
	return 0;
}

/* All environments of a process are one. */
static OrtEnv *make_environment(const OrtApi *api, struct err *e)
{
	OrtEnv *env = NULL;
	/* It prepares to send usage data, and writes a file into $TMPDIR, before DisableTelemetryEvents() can be called. */
	(void)setenv("ORT_DISABLE_TELEMETRY", "1", 1);
	if (check(api, api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "seqmsed", &env), "ONNX Runtime", e))
		return NULL;
	if (check(api, api->DisableTelemetryEvents(env), "ONNX Runtime", e) || use_allocator(api, env, e)) {
		api->ReleaseEnv(env);
		return NULL;
	}
	return env;
}

int ort_prepare(struct err *e)
{
	static OrtEnv *kept; /* as long as the process */
	const OrtApiBase *base = load(e);
	const OrtApi *api = base ? base->GetApi(ORT_API_VERSION) : NULL;
	if (base && !api)
		err_set(e, ERR_ORT, "ONNX Runtime %s is too old: it lacks version %d of the interface", base->GetVersionString(),
		        ORT_API_VERSION);
	if (api && !kept)
		kept = make_environment(api, e);
	return kept ? 0 : -1;
}

struct ort *ort_open(int threads, struct err *e)
{
	const OrtApiBase *base = load(e);
	if (!base)
		return NULL;
	struct ort *o = calloc(1, sizeof *o);
	if (!o) {
		err_nomem(e, "ONNX Runtime");
		return NULL;
	}
	o->threads = threads;
	o->api = base->GetApi(ORT_API_VERSION);
	if (!o->api) {
		err_set(e, ERR_ORT, "ONNX Runtime %s is too old: it lacks version %d of the interface", base->GetVersionString(),
		        ORT_API_VERSION);
		goto fail;
	}
	o->env = make_environment(o->api, e);
	if (!o->env)
		goto fail;
	o->allocator = &shared;
	return o;
fail:
	ort_close(o);
	return NULL;
}

void ort_close(struct ort *o)
{
	if (!o)
		return;
	if (o->env)
		o->api->ReleaseEnv(o->env);
	if (o->allocator)
		blocks_trim(o->allocator->blocks);
	free(o);
}

void ort_keep(struct ort *o, int64_t bytes)
{
	blocks_keep(o->allocator->blocks, (size_t)bytes);
}

int64_t ort_used(const struct ort *o)
{
	return (int64_t)blocks_used(o->allocator->blocks);
}

int64_t ort_peak(const struct ort *o)
{
	return (int64_t)blocks_peak(o->allocator->blocks);
}

/* ---- sessions ---- */

static int set_options(struct ort *o, OrtSessionOptions *options, enum ort_level level, struct err *e)
{
	static const GraphOptimizationLevel levels[] = {ORT_DISABLE_ALL, ORT_ENABLE_EXTENDED, ORT_ENABLE_ALL};
	const OrtApi *api = o->api;
	if (check(api, api->SetIntraOpNumThreads(options, o->threads), "session options", e) ||
	    check(api, api->SetInterOpNumThreads(options, 1), "session options", e) ||
	    check(api, api->SetSessionExecutionMode(options, ORT_SEQUENTIAL), "session options", e) ||
	    check(api, api->SetSessionGraphOptimizationLevel(options, levels[level]), "session options", e) ||
	    check(api, api->DisableCpuMemArena(options), "session options", e) ||
	    check(api, api->DisableMemPattern(options), "session options", e) ||
	    check(api, api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL), "session options", e) ||
	    check(api, api->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"), "session options", e) ||
	    check(api, api->AddSessionConfigEntry(options, "session.use_env_allocators", "1"), "session options", e))
		return -1;
	return 0;
}

static OrtValue *wrap_weight(struct ort *o, const OrtMemoryInfo *cpu, const struct onnx_shared *w, struct err *e)
{
	OrtValue *v = NULL;
	(void)check(o->api,
	            o->api->CreateTensorWithDataAsOrtValue(cpu, (void *)(uintptr_t)w->data, w->bytes, w->shape, (size_t)w->rank,
	                                                   (ONNXTensorElementDataType)w->elem_type, &v),
	            w->name, e);
	return v;
}

/* Hands the shared weights over without a copy. */
static int share_weights(struct ort *o, OrtSessionOptions *options, const struct onnx_submodel *model, OrtValue **values,
                         struct err *e)
{
	OrtMemoryInfo *cpu = NULL;
	const char **names = calloc(model->nshared + 1, sizeof *names);
	int rc = -1;
	if (!names)
		return err_nomem(e, "a session");
	if (check(o->api, o->api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &cpu), "a session", e))
		goto out;
	for (size_t i = 0; i < model->nshared; i++) {
		names[i] = model->shared[i].name;
		values[i] = wrap_weight(o, cpu, &model->shared[i], e);
		if (!values[i])
			goto out;
	}
	rc = check(o->api, o->api->AddExternalInitializers(options, names, (const OrtValue *const *)values, model->nshared),
	           "a session", e);
out:
	if (cpu)
		o->api->ReleaseMemoryInfo(cpu);
	free(names);
	return rc;
}

struct ort_session *ort_session_new(struct ort *o, const struct onnx_submodel *model, struct err *e)
{
	return ort_session_new_with(o, model, NULL, ORT_BLOCKED, e);
}

struct ort_session *ort_session_new_with(struct ort *o, const struct onnx_submodel *model, const struct ort_ops *ops,
                                         enum ort_level level, struct err *e)
{
	OrtSessionOptions *options = NULL;
	OrtValue **weights = calloc(model->nshared + 1, sizeof(OrtValue *));
	struct ort_session *s = calloc(1, sizeof *s);
	int rc = -1;
	if (!s || !weights) {
		err_nomem(e, "a session");
		goto out;
	}
	s->o = o;
	if (check(o->api, o->api->CreateSessionOptions(&options), "session options", e) || set_options(o, options, level, e))
		goto out;
	if (ops) {
		s->ops = ort_ops_new(o->api, options, ops, e);
		if (!s->ops)
			goto out;
	}
	if (model->nshared && share_weights(o, options, model, weights, e))
		goto out;
	rc = check(o->api, o->api->CreateSessionFromArray(o->env, model->bytes.data, model->bytes.len, options, &s->session),
	           "ONNX Runtime refuses the graph", e);
out:
	for (size_t i = 0; weights && i < model->nshared; i++)
		if (weights[i])
			o->api->ReleaseValue(weights[i]);
	free(weights);
	if (options)
		o->api->ReleaseSessionOptions(options);
	if (rc) {
		ort_session_free(s);
		s = NULL;
	}
	return s;
}

void ort_session_free(struct ort_session *s)
{
	if (!s)
		return;
	if (s->session)
		s->o->api->ReleaseSession(s->session);
	ort_ops_free(s->ops);
	free(s);
}

int ort_run_into(struct ort_session *s, const char *const *in_names, struct ort_value *const *in, size_t nin,
                 const char *const *out_names, struct ort_value *const *out, size_t nout, struct err *e)
{
	OrtStatus *status = s->o->api->Run(s->session, NULL, in_names, (const OrtValue *const *)(const void *)in, nin, out_names,
	                                   nout, (OrtValue **)(uintptr_t)out);
	struct err own = s->ops ? ort_ops_failure(s->ops) : (struct err)ERR_INIT;
	int rc = check(s->o->api, status, "ONNX Runtime failed while running the graph", e);
	if (rc && own.code)
		*e = own;
	return rc;
}

int ort_run(struct ort_session *s, const char *const *in_names, struct ort_value *const *in, size_t nin,
            const char *const *out_names, struct ort_value **out, size_t nout, struct err *e)
{
	for (size_t i = 0; i < nout; i++)
		out[i] = NULL; /* the runtime makes them */
	return ort_run_into(s, in_names, in, nin, out_names, out, nout, e);
}

/* ---- values ---- */

struct ort_value *ort_tensor_new(struct ort *o, int elem_type, int rank, const int64_t *shape, struct err *e)
{
	OrtValue *v = NULL;
	OrtStatus *status =
		o->api->CreateTensorAsOrtValue(&o->allocator->base, shape, (size_t)rank, (ONNXTensorElementDataType)elem_type, &v);
	return check(o->api, status, "a tensor", e) ? NULL : wrap(v);
}

struct ort_value *ort_tensor_part(struct ort *o, struct ort_value *v, int64_t first, int64_t count, struct err *e)
{
	OrtMemoryInfo *cpu = NULL;
	OrtValue *part = NULL;
	struct ort_info info;
	if (ort_value_info(o, v, &info, e))
		return NULL;
	char *data = ort_value_data(o, v);
	if (!info.bytes || !data || first + count > info.shape[0]) {
		err_set(e, ERR_INTERNAL, "a value has no such part");
		return NULL;
	}
	size_t row = info.bytes / (size_t)info.shape[0];
	if (check(o->api, o->api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &cpu), "a tensor", e))
		return NULL;
	info.shape[0] = count;
	(void)check(o->api,
	            o->api->CreateTensorWithDataAsOrtValue(cpu, data + (size_t)first * row, (size_t)count * row, info.shape,
	                                                   (size_t)info.rank, (ONNXTensorElementDataType)info.elem_type, &part),
	            "a tensor", e);
	o->api->ReleaseMemoryInfo(cpu);
	return part ? wrap(part) : NULL;
}

static size_t elem_size(ONNXTensorElementDataType type)
{
	switch (type) {
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64:
		return 8;
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
		return 4;
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
		return 2;
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
		return 1;
	default:
		return 0;
	}
}

static int tensor_info(struct ort *o, const OrtTensorTypeAndShapeInfo *shape, struct ort_info *info, struct err *e)
{
	ONNXTensorElementDataType type;
	size_t rank, count;
	if (check(o->api, o->api->GetTensorElementType(shape, &type), "a tensor's type", e) ||
	    check(o->api, o->api->GetDimensionsCount(shape, &rank), "a tensor's shape", e))
		return -1;
	if (rank > ARRAY_MAX_RANK)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "a tensor with %zu dimensions", rank);
	if (check(o->api, o->api->GetDimensions(shape, info->shape, rank), "a tensor's shape", e) ||
	    check(o->api, o->api->GetTensorShapeElementCount(shape, &count), "a tensor's shape", e))
		return -1;
	info->elem_type = (int)type;
	info->rank = (int)rank;
	info->count = (int64_t)count;
	info->bytes = count * elem_size(type);
	return 0;
}

/* The element type of a sequence's first tensor; float for an empty one. */
static int sequence_info(struct ort *o, const struct ort_value *v, struct ort_info *info, struct err *e)
{
	size_t n;
	OrtValue *first = NULL;
	info->sequence = true;
	info->elem_type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
	if (check(o->api, o->api->GetValueCount(raw(v), &n), "a sequence", e))
		return -1;
	if (n == 0)
		return 0;
	if (check(o->api, o->api->GetValue(raw(v), 0, &o->allocator->base, &first), "a sequence", e))
		return -1;
	struct ort_info inner;
	int rc = ort_value_info(o, wrap(first), &inner, e);
	o->api->ReleaseValue(first);
	info->elem_type = inner.elem_type;
	return rc;
}

int ort_value_info(struct ort *o, const struct ort_value *v, struct ort_info *info, struct err *e)
{
	enum ONNXType kind;
	OrtTensorTypeAndShapeInfo *shape = NULL;
	*info = (struct ort_info){0};
	if (check(o->api, o->api->GetValueType(raw(v), &kind), "a value", e))
		return -1;
	if (kind == ONNX_TYPE_SEQUENCE)
		return sequence_info(o, v, info, e);
	if (kind != ONNX_TYPE_TENSOR)
		return err_set(e, ERR_UNSUPPORTED_GRAPH,
		               "a value that is neither a tensor nor a sequence crosses a cut of the graph");
	if (check(o->api, o->api->GetTensorTypeAndShape(raw(v), &shape), "a tensor's shape", e))
		return -1;
	int rc = tensor_info(o, shape, info, e);
	o->api->ReleaseTensorTypeAndShapeInfo(shape);
	return rc;
}

void *ort_value_data(struct ort *o, struct ort_value *v)
{
	void *p = NULL;
	OrtStatus *status = o->api->GetTensorMutableData(raw(v), &p);
	if (status)
		o->api->ReleaseStatus(status);
	return status ? NULL : p;
}

void ort_value_free(struct ort *o, struct ort_value *v)
{
	if (v)
		o->api->ReleaseValue(raw(v));
}

/* ---- what is known before a run ---- */

int ort_output_info(struct ort_session *s, size_t i, struct ort_info *info, struct err *e)
{
	const OrtApi *api = s->o->api;
	OrtTypeInfo *type = NULL;
	const OrtTensorTypeAndShapeInfo *shape = NULL;
	ONNXTensorElementDataType elem = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
	size_t rank = 0;
	*info = (struct ort_info){.rank = -1};
	if (check(api, api->SessionGetOutputTypeInfo(s->session, i, &type), "an output's type", e))
		return -1;
	int rc = check(api, api->CastTypeInfoToTensorInfo(type, &shape), "an output's type", e);
	if (!rc && shape)
		rc = check(api, api->GetTensorElementType(shape, &elem), "an output's type", e) ||
		                     check(api, api->GetDimensionsCount(shape, &rank), "an output's shape", e)
		             ? -1
		             : 0;
	info->elem_type = (int)elem;
	if (!rc && shape && rank <= ARRAY_MAX_RANK) {
		info->rank = (int)rank;
		rc = check(api, api->GetDimensions(shape, info->shape, rank), "an output's shape", e);
	}
	api->ReleaseTypeInfo(type);
	return rc;
}
