#!/usr/bin/env python3
"""Makes model.onnx and data.npz of this folder: BatchNormalization in every place where it can be folded, and where it must not be.
Needs onnx and numpy. The names of the nodes say what is expected: fold_* disappear, keep_* stay."""
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
rng = numpy.random.default_rng(7)
nodes, initializers, outputs = [], [], []


def tensor(name, *shape, lo=-1.0, hi=1.0, dtype=numpy.float32):
    initializers.append(numpy_helper.from_array(rng.uniform(lo, hi, shape).astype(dtype), name))
    return name


def op(kind, inputs, name, **attributes):
    nodes.append(helper.make_node(kind, inputs, [name + "_out"], name=name, **attributes))
    return name + "_out"


def norm(x, channels, name, epsilon=1e-3):
    parts = [tensor(f"{name}_gain", channels, lo=0.5, hi=2), tensor(f"{name}_shift", channels),
             tensor(f"{name}_mean", channels), tensor(f"{name}_var", channels, lo=0.1, hi=2)]
    return op("BatchNormalization", [x, *parts], name, epsilon=epsilon)


def output(x, rank=4):
    outputs.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, [None] * rank))


# Conv, no bias; what follows reads the BatchNormalization's output, which is a graph output, too.
t = norm(op("Conv", ["x", tensor("w1", 6, 4, 3, 3)], "conv1", pads=[1, 1, 1, 1]), 6, "fold_conv")
output(t)
# Two in a row behind a grouped Conv with a bias.
t = op("Conv", [t, tensor("w2", 6, 2, 3, 3), tensor("b2", 6)], "conv2", group=3)
t = norm(norm(t, 6, "fold_grouped"), 6, "fold_second")
t = op("Relu", [t], "relu1")
# ConvTranspose, grouped; its bias is read by an Add as well.
b3 = tensor("b3", 4)
t = op("ConvTranspose", [t, tensor("w3", 6, 2, 2, 2), b3], "transpose", group=2, strides=[2, 2])
t = norm(t, 4, "fold_transpose")
t = op("Add", [t, op("Reshape", [b3, "shape_c11"], "spread")], "add3")
initializers.append(numpy_helper.from_array(numpy.array([4, 1, 1], numpy.int64), "shape_c11"))
output(t)
# In front of a grouped Conv without padding, which has one behind it as well.
t = norm(op("Relu", [t], "relu2"), 4, "fold_before")
t = norm(op("Conv", [t, tensor("w4", 4, 2, 3, 3)], "conv4", group=2, strides=[2, 2]), 4, "fold_behind_too")
# In front of a padded Conv: its zeros are not what BatchNormalization would have made of zeros.
t = norm(op("Relu", [t], "relu3"), 4, "keep_padded")
t = op("Conv", [t, tensor("w5", 4, 4, 3, 3)], "conv5", pads=[1, 1, 1, 1])
# A weight that two nodes read, and an output that two nodes read.
w6 = tensor("w6", 4, 4, 1, 1)
t = norm(op("Conv", [t, w6], "conv6"), 4, "keep_shared_weight")
t = op("Conv", [op("Relu", [t], "relu4"), w6], "conv7")
t = op("Conv", [op("Relu", [t], "relu5"), tensor("w8", 4, 4, 1, 1)], "conv8")
t = op("Add", [norm(t, 4, "keep_read_twice"), t], "add8")
# Gemm, both ways, with factors; the weight in a Constant node.
t = op("Flatten", [op("GlobalAveragePool", [t], "pool")], "flat")
t = norm(op("Gemm", [t, tensor("w9", 4, 5), tensor("b9", 1, 5)], "gemm9", alpha=0.5, beta=2.0), 5, "fold_gemm")
t = norm(op("Sigmoid", [t], "sigmoid"), 5, "fold_before_gemm")
w10 = numpy_helper.from_array(rng.uniform(-1, 1, (3, 5)).astype(numpy.float32))
nodes.append(helper.make_node("Constant", [], ["w10"], name="w10_node", value=w10))
t = op("Gemm", [t, "w10"], "gemm10", transB=1, alpha=2.0)
output(t, 2)
# Nothing linear beside it.
output(norm(op("Relu", ["x"], "relu6"), 4, "keep_alone"))

graph = helper.make_graph(nodes, "fold", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 8, 8])], outputs,
                          initializers)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, HERE / "model.onnx")
numpy.savez_compressed(HERE / "data.npz", x=numpy.round(rng.normal(size=(6, 4, 8, 8)) * 8).astype(numpy.float32) / 8)
