#include "server/cli/cli.h"
#include "server/cli/cli_args.h"
#include "server/cli/cli_options.h"

#include "core/base/json.h"
#include "core/onnx/onnx_model.h"
#include "core/search/layers.h"
#include "core/workflow/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_io(const char *title, const struct onnx_io *io)
{
	(void)printf("%-7s %s  %s[", title, io->name, onnx_elem_type_name(io->elem_type));
	for (int k = 0; k < io->rank; k++) {
		(void)fputs(k ? ", " : "", stdout);
		if (io->shape[k] >= 0)
			(void)printf("%lld", (long long)io->shape[k]);
		else
			(void)fputs(io->dim_name[k] ? io->dim_name[k] : "?", stdout);
	}
	(void)puts(io->rank < 0 ? "any shape]" : "]");
}

static int print_layers(const struct onnx_model *m, struct err *e)
{
	struct layer *layers;
	int n, searchable = 0;
	if (layers_find(m, NULL, NULL, &layers, &n, e))
		return -1;
	(void)printf("\n  # op      channels   fan-in  groups  node\n");
	for (int i = 0; i < n; i++) {
		const struct layer *l = &layers[i];
		const char *name = onnx_model_node(m, l->node)->name;
		searchable += l->searchable;
		if (l->searchable)
			(void)printf("%3d %-7s %8lld %8lld %7lld  %s\n", i, layer_op_name(l->op), (long long)l->channels,
			             (long long)l->fan_in, (long long)l->groups, name);
		else
			(void)printf("%3d %-7s %25s  %s (not searchable: %s)\n", i, layer_op_name(l->op), "-", name, l->reason);
	}
	(void)printf("\n%d of %d Conv, Gemm and MatMul can be searched\n", searchable, n);
	free(layers);
	return 0;
}

static int print_text(const struct onnx_model *m, struct err *e)
{
	size_t n;
	const char *const *files = onnx_model_external(m, &n);
	(void)printf("opset %lld, IR version %lld, %d nodes\n", (long long)onnx_model_opset(m), (long long)onnx_model_ir_version(m),
	             onnx_model_nodes(m));
	for (size_t i = 0; i < onnx_model_inputs(m); i++)
		print_io("input", onnx_model_input(m, i));
	for (size_t i = 0; i < onnx_model_outputs(m); i++)
		print_io("output", onnx_model_output(m, i));
	for (size_t i = 0; i < n; i++)
		(void)printf("data    %s (external, to lie beside the model)\n", files[i]);
	return print_layers(m, e);
}

static int print_json(const struct onnx_model *m, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 2);
	int rc = inspect_json(m, &w, NULL, e);
	buf_str(&b, "\n");
	if (!rc && buf_failed(&b))
		rc = err_nomem(e, "the output");
	if (!rc)
		(void)fwrite(b.data, 1, b.len, stdout);
	buf_fini(&b);
	return rc;
}

static int inspect(const char *path, bool json, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	struct onnx_model *m = onnx_model_open_fd(fd, path, e);
	(void)close(fd);
	int rc = !m ? -1 : json ? print_json(m, e) : print_text(m, e);
	onnx_model_free(m);
	return rc;
}

int cli_inspect(int argc, char **argv)
{
	struct err e = ERR_INIT;
	const char *path = NULL;
	bool json = false;
	if (cli_args_want_help(argc, argv)) {
		cli_options_help("inspect");
		return 0;
	}
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--quantizers") == 0)
			return cli_quantizers(argc, argv);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (argv[i][0] == '-' || path)
			return err_set(&e, ERR_USAGE, "unknown word %s; see seqmsed inspect --help", argv[i]), cli_fail(&e);
		else
			path = argv[i];
	}
	if (!path)
		return err_set(&e, ERR_USAGE, "the model is missing; see seqmsed inspect --help"), cli_fail(&e);
	return inspect(path, json, &e) ? cli_fail(&e) : 0;
}
