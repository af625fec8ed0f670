#ifndef SEQMSE_ONNX_PRESCAN_PARTS_H
#define SEQMSE_ONNX_PRESCAN_PARTS_H

/* What the files of onnx_prescan share. Nobody else includes it. */

#include "core/onnx/onnx_prescan.h"
#include "core/onnx/wire.h"

#include <stdbool.h>

enum { FEW = 16, INPUTS = 5 };

/* What a tensor's bytes say of it. */
struct tensor_facts {
	struct wire name;
	int type;
	int64_t count; /* elements */
	size_t rank;
	int64_t dims[PRESCAN_MAX_RANK];
	bool external;
	int nfew; /* how many of the first numbers of a numeric tensor are in few */
	double few[FEW];
	struct wire int64_data, raw; /* where the numbers are, for sparse indices */
};

/* onnx_prescan_tensor.c: checks a TensorProto or a SparseTensorProto and says what it is. */
int prescan_tensor(struct wire w, struct tensor_facts *t, struct err *e);
int prescan_sparse(struct wire w, struct tensor_facts *values, struct err *e);

/* onnx_prescan_made.c: constants by name, and nodes that make tensors out of them. */
struct made;
struct made *made_new(void); /* NULL: no memory */
void made_free(struct made *m);
int made_add_constant(struct made *m, struct wire name, const struct tensor_facts *t, struct err *e);
/* Looks at a node, and keeps what it needs of it until made_check(). */
int made_add_node(struct made *m, struct wire node, struct err *e);
/* After the whole model: whether a node makes too much. */
int made_check(const struct made *m, struct err *e);

/* A text out of the file for a message: cut, and without what would break a line. */
enum { SHOWN = 80 };
const char *prescan_show(const struct wire *w, char out[SHOWN]);

#endif
