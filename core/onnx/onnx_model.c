#include "core/onnx/onnx_model.h"

#include "core/onnx/onnx_pb.h"
#include "core/onnx/onnx_prescan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- opening ---- */

/* Checks a tensor's form and notes where its data is. */
static int note_tensor(Onnx__TensorProto *t, void *ctx, struct err *e)
{
	struct onnx_model *m = ctx;
	int64_t count = pb_tensor_count(t);
	size_t size = pb_elem_size(t->data_type);
	if (count < 0)
		return err_set(e, ERR_NOT_ONNX, "tensor %s: a negative or overflowing dimension", pb_str(t->name));
	if (!pb_is_external(t)) {
		if (t->has_raw_data && size && t->raw_data.len != (size_t)count * size)
			return err_set(e, ERR_NOT_ONNX, "tensor %s: %zu bytes of data where its shape asks for %zu",
			               pb_str(t->name), t->raw_data.len, (size_t)count * size);
		return 0;
	}
	const char *where = pb_external(t, "location");
	if (!where || !*where)
		return err_set(e, ERR_NOT_ONNX, "tensor %s: external data without a location", pb_str(t->name));
	for (size_t i = 0; i < m->nexternal; i++)
		if (strcmp(m->external[i], where) == 0)
			return 0;
	char **grown = realloc(m->external, (m->nexternal + 1) * sizeof *grown);
	if (!grown)
		return err_nomem(e, "the model's file names");
	m->external = grown;
	m->external[m->nexternal] = strdup(where);
	return m->external[m->nexternal++] ? 0 : err_nomem(e, "the model's file names");
}

static int check_head(const struct onnx_model *m, const char *name, struct err *e)
{
	if (!m->pb->graph || !m->pb->has_ir_version || m->pb->ir_version < 1)
		return err_set(e, ERR_NOT_ONNX, "%s: not an ONNX model (it has no graph or no IR version)", name);
	if (m->pb->graph->n_node == 0)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "%s: the graph has no nodes", name);
	return 0;
}

struct onnx_model *onnx_model_parse(const void *bytes, size_t len, const char *name, struct err *e)
{
	struct onnx_model *m = calloc(1, sizeof *m);
	if (!m) {
		err_nomem(e, "the model");
		return NULL;
	}
	m->pb = onnx__model_proto__unpack(NULL, len, bytes);
	if (!m->pb) {
		err_set(e, ERR_NOT_ONNX, "%s: not an ONNX model, or a damaged one", name);
		goto fail;
	}
	if (check_head(m, name, e))
		goto fail;
	if (pb_each_tensor(m->pb, note_tensor, m, e) || onnx_view_build(m, e)) {
		err_wrap(e, "%s", name);
		goto fail;
	}
	return m;
fail:
	onnx_model_free(m);
	return NULL;
}

/* Parses straight from a private mapping, so that the file's bytes are not held twice. */
struct onnx_model *onnx_model_open_fd(int fd, const char *name, struct err *e)
{
	struct stat st;
	if (fstat(fd, &st)) {
		err_errno(e, errno, "%s", name);
		return NULL;
	}
	if (st.st_size == 0 || !S_ISREG(st.st_mode)) {
		err_set(e, ERR_NOT_ONNX, "%s: %s", name, S_ISREG(st.st_mode) ? "the file is empty" : "not a file");
		return NULL;
	}
	void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED) {
		err_errno(e, errno, "%s", name);
		return NULL;
	}
	struct onnx_model *m = NULL;
	if (onnx_prescan(bytes, (size_t)st.st_size, e) < 0)
		err_wrap(e, "%s", name);
	else
		m = onnx_model_parse(bytes, (size_t)st.st_size, name, e);
	(void)munmap(bytes, (size_t)st.st_size);
	return m;
}

/* ---- external data beside the file ---- */

static bool plain_relative(const char *name)
{
	if (*name == '/' || *name == '\0')
		return false;
	for (const char *p = name; *p;) {
		size_t n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n + (p[n] == '/');
	}
	return true;
}

static int attach_beside(struct onnx_model *m, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0, rc = -1;
	size_t n = m->nexternal, opened = 0;
	struct onnx_external *files = calloc(n + 1, sizeof *files);
	if (!files)
		return err_nomem(e, "external data");
	for (; opened < n; opened++) {
		char full[PATH_MAX];
		files[opened].name = m->external[opened];
		if (!plain_relative(m->external[opened])) {
			err_set(e, ERR_UNSUPPORTED_GRAPH, "external data must be a plain name beside the model, not %s",
			        m->external[opened]);
			goto out;
		}
		if (snprintf(full, sizeof full, "%.*s%s", dir_len, path, m->external[opened]) >= (int)sizeof full) {
			err_set(e, ERR_NOT_FOUND, "the name of the external data is too long");
			goto out;
		}
		files[opened].fd = open(full, O_RDONLY | O_CLOEXEC);
		if (files[opened].fd < 0) {
			err_errno(e, errno, "external data %s", full);
			goto out;
		}
	}
	rc = onnx_model_attach(m, files, n, e);
out:
	for (size_t i = 0; i < opened; i++)
		(void)close(files[i].fd);
	free(files);
	return rc;
}

struct onnx_model *onnx_model_open(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_errno(e, errno, "%s", path);
		return NULL;
	}
	struct onnx_model *m = onnx_model_open_fd(fd, path, e);
	(void)close(fd);
	if (m && attach_beside(m, path, e)) {
		err_wrap(e, "%s", path);
		onnx_model_free(m);
		m = NULL;
	}
	return m;
}

void onnx_model_free(struct onnx_model *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->nmade; i++)
		free(m->made_names[i]);
	free(m->made_names);
	free(m->nodes);
	free(m->values);
	free((void *)m->pb_nodes);
	free((void *)m->tensors);
	free((void *)m->sparse);
	free(m->index_pool);
	free(m->inputs);
	free(m->outputs);
	for (size_t i = 0; i < m->nexternal; i++)
		free(m->external[i]);
	free(m->external);
	names_free(m->value_names);
	if (m->pb)
		onnx__model_proto__free_unpacked(m->pb, NULL);
	free(m);
}

/* ---- looking ---- */

const char *const *onnx_model_external(const struct onnx_model *m, size_t *n)
{
	*n = m->nexternal;
	return (const char *const *)m->external;
}

size_t onnx_model_inputs(const struct onnx_model *m)
{
	return m->ninputs;
}
const struct onnx_io *onnx_model_input(const struct onnx_model *m, size_t i)
{
	return &m->inputs[i];
}
size_t onnx_model_outputs(const struct onnx_model *m)
{
	return m->noutputs;
}
const struct onnx_io *onnx_model_output(const struct onnx_model *m, size_t i)
{
	return &m->outputs[i];
}
int onnx_model_nodes(const struct onnx_model *m)
{
	return m->nnodes;
}
const struct onnx_node *onnx_model_node(const struct onnx_model *m, int i)
{
	return &m->nodes[i];
}
int onnx_model_values(const struct onnx_model *m)
{
	return m->nvalues;
}
const struct onnx_value *onnx_model_value(const struct onnx_model *m, int id)
{
	return &m->values[id];
}
int onnx_model_find(const struct onnx_model *m, const char *name)
{
	return names_find(m->value_names, name);
}
int64_t onnx_model_ir_version(const struct onnx_model *m)
{
	return m->pb->ir_version;
}

int64_t onnx_model_opset(const struct onnx_model *m)
{
	for (size_t i = 0; i < m->pb->n_opset_import; i++) {
		const char *domain = pb_str(m->pb->opset_import[i]->domain);
		if (!*domain || strcmp(domain, "ai.onnx") == 0)
			return m->pb->opset_import[i]->version;
	}
	return 0;
}

static const Onnx__AttributeProto *attr(const struct onnx_model *m, int node, const char *name)
{
	const Onnx__NodeProto *pb = m->pb_nodes[node];
	for (size_t i = 0; i < pb->n_attribute; i++)
		if (strcmp(pb_str(pb->attribute[i]->name), name) == 0)
			return pb->attribute[i];
	return NULL;
}

int64_t onnx_attr_int(const struct onnx_model *m, int node, const char *name, int64_t dflt)
{
	const Onnx__AttributeProto *a = attr(m, node, name);
	return a && a->has_i ? a->i : dflt;
}

double onnx_attr_float(const struct onnx_model *m, int node, const char *name, double dflt)
{
	const Onnx__AttributeProto *a = attr(m, node, name);
	return a && a->has_f ? (double)a->f : dflt;
}

const char *onnx_attr_string(const struct onnx_model *m, int node, const char *name, const char *dflt, size_t *len)
{
	const Onnx__AttributeProto *a = attr(m, node, name);
	const char *s = a && a->has_s ? (const char *)a->s.data : dflt;
	*len = a && a->has_s ? a->s.len : strlen(dflt);
	return s;
}

int onnx_attr_ints(const struct onnx_model *m, int node, const char *name, int64_t *out, int max)
{
	const Onnx__AttributeProto *a = attr(m, node, name);
	if (!a)
		return -1;
	for (size_t i = 0; i < a->n_ints && (int)i < max; i++)
		out[i] = a->ints[i];
	return (int)a->n_ints;
}
