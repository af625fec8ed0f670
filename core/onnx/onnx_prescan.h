#ifndef SEQMSE_ONNX_PRESCAN_H
#define SEQMSE_ONNX_PRESCAN_H

/* A look over a model's bytes before anything unpacks them, in one pass, in time and memory that the file's size bounds. It lets ordinary models
 * pass and refuses what has made protobuf, shape inference or runtimes read, write or allocate beyond measure:
 *
 *     ERR_NOT_ONNX           damaged messages; a single part that is there twice (parsers join them, and disagree how); negative or
 *                            overflowing dimensions of tensors; data whose size is not what shape and type ask for; tensors without data;
 *                            two tensors of one name in a graph; sparse indices out of range; external data without a location
 *     ERR_UNSUPPORTED_GRAPH  external data that is not a plain relative name, or an address in memory; EPContext; operators of domains that the
 *                            runtime does not have; more parts, deeper nesting, longer names than any model needs (the limits below);
 *                            functions that call each other in a circle, too deep, or that grow beyond measure when they are put in
 *                            place; constants that make ConstantOfShape, Expand, Tile, Pad, Range, Resize, OneHot and Random* produce an
 *                            outsize tensor, sparse tensors that unfold to one
 *
 * What a graph computes its sizes from as it runs cannot be told from its bytes: the limit of memory is for that. Cycles of nodes are
 * onnx_view.c's to refuse. */

#include "core/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
	PRESCAN_MAX_NODES = 100000,
	PRESCAN_MAX_TENSORS = 100000,
	PRESCAN_MAX_PARTS = 4000000, /* messages and texts in all */
	PRESCAN_MAX_TEXT = 64 << 10, /* bytes of a name; documentation and metadata may be longer */
	PRESCAN_MAX_DEPTH = 64,      /* messages in messages */
	PRESCAN_MAX_GRAPHS = 16,     /* graphs in nodes in graphs */
	PRESCAN_MAX_FUNCTION_DEPTH = 8,
	PRESCAN_MAX_EXPANDED = 1000000, /* nodes, when every function is put in place of its calls */
	PRESCAN_MAX_MADE = 7 << 24,     /* elements of a tensor that one node makes out of constants */
	PRESCAN_MAX_RANK = 64
};

int onnx_prescan(const uint8_t *bytes, size_t len, struct err *e);

#endif
