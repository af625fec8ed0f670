#!/usr/bin/env python3
"""Makes the models of this folder: one node or a few, with the batch along axis 0 of an input. Needs onnx and numpy.

    make.py          apart_NAME.onnx: samples do not meet, a batch may be cut; mixed_NAME.onnx: they do, or nobody can tell

Odd sizes, so that samples do not begin where vectors of numbers do.
"""
import pathlib
import zlib

import numpy
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
PICTURE, ROW = ["N", 3, 7, 5], ["N", 11]


def const(name, array, dtype=numpy.float32):
    return numpy_helper.from_array(numpy.asarray(array, dtype=dtype), name)


def some(name, *shape):
    rng = numpy.random.default_rng(zlib.crc32(f"{name}{shape}".encode()))
    return const(name, rng.normal(size=shape))


def node(op, *inputs, out="y", **attributes):
    return helper.make_node(op, list(inputs), out.split(), **attributes)


def save(name, inputs, nodes, initializers=(), outputs=("y",), opset=22, kind=TensorProto.FLOAT):
    """inputs: {name: dims}. kind: of the outputs."""
    graph = helper.make_graph(nodes, name, [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
                              [helper.make_tensor_value_info(k, kind, None) for k in outputs], list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def one(prefix, op, dims, *initializers, name=None, opset=22, **attributes):
    save(f"{prefix}_{name or op.lower()}", {"x": dims}, [node(op, "x", *(i.name for i in initializers), **attributes)], initializers, opset=opset)


def apart():
    for op in ("Abs", "Dropout", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg", "Relu",
               "Sigmoid", "Tanh"):
        one("apart", op, PICTURE)
    for op in ("AveragePool", "MaxPool"):
        one("apart", op, PICTURE, kernel_shape=[3, 2], pads=[1, 0, 1, 1])
    one("apart", "Clip", PICTURE, const("low", -0.5), const("high", 0.75))
    one("apart", "BatchNormalization", PICTURE, some("s", 3), some("b", 3), some("m", 3), const("v", [0.5, 1, 2]))
    one("apart", "Conv", PICTURE, some("w", 5, 3, 3, 3), some("b", 5))
    one("apart", "Conv", PICTURE, some("w", 9, 3, 1, 1), name="conv_pointwise")
    one("apart", "Conv", PICTURE, some("w", 3, 1, 3, 3), name="conv_depthwise", group=3)
    for op in ("Add", "Sub", "Mul", "Div"):
        one("apart", op, PICTURE, some("c", 3, 1, 1))
    one("apart", "Add", PICTURE, some("c", 1, 3, 7, 5), name="add_one_for_all")
    one("apart", "PRelu", PICTURE, some("c", 3, 1, 1))
    for op in ("Max", "Min"):
        save(f"apart_{op.lower()}", {"x": PICTURE, "z": PICTURE}, [node(op, "x", "z", "c")], [some("c", 5)])
    save("apart_cast", {"x": PICTURE}, [node("Cast", "x", out="d", to=TensorProto.DOUBLE), node("Cast", "d", to=TensorProto.FLOAT)])
    save("apart_concat", {"x": PICTURE, "z": PICTURE}, [node("Concat", "x", "z", axis=2)])
    save("apart_flatten", {"x": PICTURE}, [node("Flatten", "x")])
    save("apart_two_outputs", {"x": PICTURE, "z": ROW}, [node("Relu", "x"), node("Tanh", "z", out="u")], outputs=("u", "y"))
    save("apart_same_twice", {"x": PICTURE}, [node("Relu", "x"), node("Identity", "y", out="u")], outputs=("y", "u"))
    save("apart_input_passes", {"x": PICTURE}, [node("Relu", "x"), node("Identity", "x", out="u")], outputs=("y", "u"))
    # with a row for each sample: apart, where last digits do not count
    one("apart", "Gemm", ROW, some("w", 11, 7), some("b", 7), name="rows_gemm")
    one("apart", "Gemm", ROW, some("w", 7, 11), some("b", 1, 7), name="rows_gemm_trans_b", transB=1, alpha=0.5)
    one("apart", "MatMul", ROW, some("w", 11, 7), name="rows_matmul")
    one("apart", "MatMul", ["N", 3, 11], some("w", 11, 7), name="rows_matmul_many")
    one("apart", "MatMul", ["N", 3, 11], some("w", 1, 11, 7), name="rows_matmul_one_for_all")
    one("apart", "MatMul", ROW, some("w", 11), name="rows_matmul_vector")


def mixed():
    moments = [some("s", 3), some("b", 3), some("m", 3), const("v", [0.5, 1, 2])]
    save("mixed_batch_norm_updates", {"x": PICTURE}, [node("BatchNormalization", "x", "s", "b", "m", "v", out="y mean var", training_mode=1)], moments)
    one("mixed", "Dropout", PICTURE, const("ratio", 0.5), const("training", True, bool), name="dropout_training")
    for op, attributes in (("Elu", {}), ("Selu", {}), ("Mish", {}), ("Softplus", {}), ("LRN", {"size": 3})):  # rounded differently at a tensor's ends
        one("mixed", op, PICTURE, **attributes)
    one("mixed", "Transpose", PICTURE, name="transpose", perm=[1, 0, 2, 3])
    save("mixed_transpose_twice", {"x": PICTURE}, [node("Transpose", "x", out="t", perm=[3, 1, 2, 0]), node("Relu", "t", out="r"),
                                                    node("Transpose", "r", perm=[3, 1, 2, 0])])
    one("mixed", "Reshape", PICTURE, const("to", [-1, 5], numpy.int64), name="reshape_merges")
    one("mixed", "Reshape", PICTURE, const("to", [3, -1, 7, 5], numpy.int64), name="reshape_turns")
    one("mixed", "Flatten", PICTURE, name="flatten_0", axis=0)
    one("mixed", "Flatten", PICTURE, name="flatten_2", axis=2)
    one("mixed", "Concat", PICTURE, some("c", 2, 3, 7, 5), name="concat_0", axis=0)
    one("mixed", "Concat", PICTURE, some("c", 2, 3, 7, 5), name="concat_0_from_behind", axis=-4)
    for op in ("ReduceMean", "ReduceMax"):
        one("mixed", op, PICTURE, const("axes", [0], numpy.int64), name=f"{op.lower()}_0", keepdims=1)
    save("mixed_mean_of_batch", {"x": PICTURE}, [node("ReduceMean", "x", "axes", out="m", keepdims=1), node("Sub", "x", "m")],
         [const("axes", [0], numpy.int64)])
    one("mixed", "Softmax", PICTURE, name="softmax_0", axis=0)
    one("mixed", "Softmax", PICTURE, name="softmax_of_old", opset=11, axis=0)
    one("mixed", "CumSum", PICTURE, const("axis", 0, numpy.int64), name="cumsum_0")
    one("mixed", "Gather", PICTURE, const("at", [0, 2], numpy.int64), name="gather_0", axis=0)
    one("mixed", "Split", PICTURE, name="split_0", axis=0, num_outputs=1)
    one("mixed", "DepthToSpace", ["N", 4, 3, 3], name="depth_to_space", blocksize=2)  # not among the known
    save("mixed_maxpool_places", {"x": PICTURE}, [node("MaxPool", "x", out="y i", kernel_shape=[2, 2])])  # counted over the whole batch
    save("mixed_shape", {"x": PICTURE}, [node("Shape", "x", out="s"), node("Cast", "s", out="f", to=TensorProto.FLOAT), node("ReduceSum", "f", out="n"),
                                         node("Mul", "x", "n")])
    save("mixed_gram", {"x": ROW, "z": [11, "N"]}, [node("MatMul", "x", "z")])
    save("mixed_weight_of_batch", {"x": PICTURE, "w": [5, 3, 3, 3]}, [node("Conv", "x", "w")])
    one("mixed", "Gemm", ["N", 11], some("w", 1, 7), name="gemm_trans_a", transA=1)
    one("mixed", "MatMul", ["N", 11], some("w", 4, 11, 7), name="matmul_more_axes")
    one("mixed", "MatMul", ["N", 3, 11], some("w", 33, 11, 7), name="matmul_for_each")
    one("mixed", "Add", PICTURE, some("c", 33, 1, 1, 1), name="add_for_each")
    one("mixed", "Add", ["N"], some("c", 33), name="add_for_each_number")
    one("mixed", "Add", ["N", 5], some("c", 2, 1, 5), name="add_more_axes")
    save("mixed_add_fewer_axes", {"x": PICTURE, "z": ["M"]}, [node("Add", "x", "z")])
    one("mixed", "Relu", [33, 3, 7, 5], name="fixed_batch")
    one("mixed", "Relu", ["N", "H"], name="unknown_size")
    one("mixed", "Relu", [], name="number")
    save("mixed_input_is_output", {"x": PICTURE}, [node("Relu", "x")], outputs=("y", "x"))  # the runtime would not write it where it is told to
    save("mixed_strings", {"x": ROW}, [node("Cast", "x", to=TensorProto.STRING)], kind=TensorProto.STRING)
    save("mixed_constant_output", {"x": PICTURE}, [node("Relu", "x"), node("Neg", "c", out="u")], [some("c", 33, 2)], outputs=("y", "u"))
    inner = helper.make_graph([node("Relu", "x", out="a")], "then", [], [helper.make_tensor_value_info("a", TensorProto.FLOAT, PICTURE)])
    other = helper.make_graph([node("Neg", "x", out="b")], "else", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, PICTURE)])
    save("mixed_if", {"x": PICTURE}, [node("ReduceSum", "x", out="sum", keepdims=0), node("Greater", "sum", "zero", out="yes"),
                                      helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=other)], [const("zero", 0)])
    save("mixed_if_constant", {"x": PICTURE}, [helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=other)], [const("yes", True, bool)])
    info = helper.make_tensor_value_info
    body = helper.make_graph([node("Identity", "go", out="went"), node("Add", "x", "before", out="after")], "body",
                             [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("before", TensorProto.FLOAT, PICTURE)],
                             [info("went", TensorProto.BOOL, []), info("after", TensorProto.FLOAT, PICTURE)])
    save("mixed_loop", {"x": PICTURE}, [helper.make_node("Loop", ["three", "", "x"], ["y"], body=body)], [const("three", 3, numpy.int64)])


apart()
mixed()
