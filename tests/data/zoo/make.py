#!/usr/bin/env python3
"""Makes the small models of this folder, their data, and what the reference finds for them.

    make.py                   MODEL.onnx (and .data), MODEL.npz and cases.json; needs onnx and numpy
    make.py golden [CASE …]   golden/CASE.encodings; needs aimet_onnx 2.42.0 and onnxruntime as well

Every function under @model is one model, and its docstring says what it is for. All numbers come from a generator seeded by the
model's name, so that changing one model leaves the others as they are.

The reference stops at some models that ONNX Runtime runs: values captured by a Loop, sequences, dimensions it cannot guess, an
excluded first layer. It is given a plain model instead (Net.plain) that computes the same with the same weights. Where there is none, the case
says golden: "brute", and the test works out the answer.
"""
import json
import pathlib
import sys
import zlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
MODELS = {}


def model(*cases, **settings):
    """Registers a model. Each case is a dict of settings of the search; settings alone are the only case."""
    def register(function):
        MODELS[function.__name__] = (function, list(cases) or [settings])
        return function
    return register


class Net:
    """A graph under construction. Methods that add a tensor return its name."""

    def __init__(self, name):
        self.name, self.rng = name, numpy.random.default_rng(zlib.crc32(name.encode()))
        self.opset, self.ir, self.float_type = 17, 8, TensorProto.FLOAT
        self.nodes, self.inputs, self.outputs, self.initializers = [], [], [], []
        self.value_info, self.functions, self.opsets, self.calib, self.weights = [], [], [], {}, {}
        self.external, self.plain, self.count = False, False, 0

    def fresh(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    def numbers(self, *shape, scale=1.0):
        """Normal numbers with some outliers, which is what makes a smaller range worthwhile."""
        a = self.rng.normal(size=shape) * numpy.where(self.rng.random(shape) < 0.06, 2.5, 1.0)
        return (a * scale).astype(numpy.float32)

    def data(self, samples, *shape, scale=1.0, relu=False):
        """Calibration data, coarse so that it compresses."""
        a = numpy.round(self.rng.normal(size=(samples, *shape)) * 8 * scale).astype(numpy.float32) / 8
        return numpy.maximum(a, 0) if relu else a

    def input(self, name, dims, array, elem=None):
        types = {"f": self.float_type, "i": TensorProto.INT64, "b": TensorProto.BOOL}
        elem = elem or types[array.dtype.kind]
        if self.plain:
            fixed = dims and isinstance(dims[0], int) and dims[0] > 0
            dims = [dims[0] if fixed else "N", *array.shape[1:]]
        self.inputs.append(helper.make_tensor_value_info(name, elem, dims))
        self.calib[name] = array.astype(helper.tensor_dtype_to_np_dtype(elem))
        return name

    def x(self, samples, *shape, name="x", batch="N", **options):
        return self.input(name, [batch, *shape], self.data(samples, *shape, **options))

    def const(self, array, name=None, form="raw"):
        """An initializer (raw or typed), or the output of a Constant node."""
        array = numpy.asarray(array)
        if array.dtype == numpy.float32:
            array = array.astype(helper.tensor_dtype_to_np_dtype(self.float_type))
        name = name or self.fresh("c")
        if form == "typed":
            tensor = helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.flatten().tolist())
        else:
            tensor = numpy_helper.from_array(array, name)
        if form == "node":
            self.nodes.append(helper.make_node("Constant", [], [name], name=self.fresh("Constant_"), value=tensor))
        else:
            self.initializers.append(tensor)
        return name

    def w(self, *shape, name=None, form="raw", fan_in=None):
        """A weight of a size that keeps activations near 1."""
        fan_in = fan_in or int(numpy.prod(shape[1:]))
        name = name or self.fresh("w")
        self.weights[name] = self.numbers(*shape, scale=fan_in ** -0.5)
        return self.const(self.weights[name], name, form)

    def b(self, *shape):
        return self.const(self.numbers(*shape, scale=0.2), self.fresh("b"))

    def op(self, op_type, *inputs, n=1, name=None, out=None, domain="", **attributes):
        outs = [out] if out else [self.fresh("t") for _ in range(n)]
        node = helper.make_node(op_type, list(inputs), outs, name=self.fresh(op_type + "_") if name is None else name, domain=domain,
                                **attributes)
        self.nodes.append(node)
        return outs[0] if n == 1 else outs

    def conv(self, x, out, per_group, *kernel, bias=True, w=None, **attributes):
        w = w or self.w(out, per_group, *kernel)
        return self.op("Conv", x, w, *([self.b(out)] if bias else []), **{"kernel_shape": list(kernel), **attributes})

    def relu(self, x):
        return self.op("Relu", x)

    def flat_gemm(self, x, features, out=4):
        """A classifier's end."""
        return self.op("Gemm", self.op("Flatten", x), self.w(out, features), self.b(out), transB=1)

    def linear(self, x, fan_in, out, w=None, **attributes):
        return self.op("MatMul", x, self.w(fan_in, out, fan_in=fan_in, name=w), **attributes)

    def output(self, *names, elem=None):
        for name in names:
            self.outputs.append(onnx.ValueInfoProto(name=name) if elem is False else
                                helper.make_tensor_value_info(name, elem or self.float_type, None))

    def build(self):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers, value_info=self.value_info)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset), *self.opsets], ir_version=self.ir,
                                 functions=self.functions, producer_name="zoo")


# ---- convolutions -----------------------------------------------------------------------------------------------------------


@model({}, {"param_bw": 3, "num_candidates": 37}, {"loss_fn": "l1"}, {"loss_fn": "sqnr", "batch_size": 3})
def conv1d(n):
    "One spatial dimension, strided, dilated, padded on one side."
    t = n.relu(n.conv(n.x(8, 3, 16), 6, 3, 5, pads=[3, 1], strides=[2]))
    n.output(n.conv(t, 4, 6, 3, dilations=[2]))


@model({}, {"param_bw": 2}, {"param_bw": 8}, {"param_bw": 16}, {"num_candidates": 1}, {"num_candidates": 5}, {"batch_size": 3},
       {"loss_fn": "l1"}, {"loss_fn": "sqnr"})
def conv2d(n):
    "The plain case, with every width; batch 3 leaves a ragged last batch of 2."
    t = n.relu(n.conv(n.x(8, 2, 6, 6), 5, 2, 3, 3, pads=[1, 1, 1, 1]))
    t = n.relu(n.conv(t, 6, 5, 3, 3, strides=[2, 2]))
    n.output(n.flat_gemm(t, 24))


@model({"block_size": 4}, {"block_size": 4, "loss_fn": "l1"}, {"block_size": 4, "loss_fn": "sqnr", "batch_size": 4})
def conv_blocks(n):
    "Blocks of input channels."
    t = n.relu(n.conv(n.x(12, 8, 6, 5, relu=True), 12, 8, 3, 3, pads=[1, 1, 1, 1]))
    n.output(n.relu(n.conv(t, 6, 12, 3, 3, strides=[2, 2])))


@model({"block_size": 6, "loss_fn": "l1", "batch_size": 4})
def gemm_blocks(n):
    "The same of a matrix."
    n.output(n.op("Gemm", n.relu(n.op("Gemm", n.x(12, 12), n.w(18, 12), n.b(18), transB=1)), n.w(5, 18), n.b(5), transB=1))


@model()
def conv3d(n):
    t = n.relu(n.conv(n.x(8, 2, 3, 4, 5), 3, 2, 2, 3, 3, pads=[0, 1, 0, 1, 1, 2], strides=[1, 2, 1]))
    n.output(n.conv(t, 4, 3, 1, 1, 1))


@model({}, {"param_bw": 2, "num_candidates": 5}, {"loss_fn": "l1"}, {"loss_fn": "sqnr", "batch_size": 3})
def conv_grouped(n):
    t = n.relu(n.conv(n.x(8, 6, 5, 5), 9, 2, 3, 3, group=3))
    n.output(n.conv(t, 6, 3, 3, 3, group=3))


@model({}, {"param_bw": 8}, {"loss_fn": "l1"}, {"loss_fn": "sqnr"})
def conv_depthwise(n):
    "Channel multipliers 1 and 2, then pointwise, as in the mobile networks."
    t = n.relu(n.conv(n.x(8, 4, 6, 6), 4, 1, 3, 3, group=4, pads=[1, 1, 1, 1]))
    t = n.relu(n.conv(t, 8, 1, 3, 3, group=4, strides=[2, 2], pads=[1, 1, 1, 1]))
    n.output(n.conv(t, 5, 8, 1, 1))


@model()
def conv_dilated_strided(n):
    t = n.relu(n.conv(n.x(8, 2, 9, 9), 4, 2, 3, 3, dilations=[2, 3], strides=[1, 2], pads=[2, 3, 2, 3]))
    n.output(n.conv(t, 4, 4, 2, 2, dilations=[3, 1], strides=[2, 1]))


@model()
def conv_asymmetric_pads(n):
    t = n.relu(n.conv(n.x(8, 2, 5, 6), 4, 2, 3, 2, pads=[0, 1, 2, 0]))
    n.output(n.conv(t, 4, 4, 3, 3, pads=[2, 0, 0, 1], strides=[2, 3]))


@model({}, {"loss_fn": "l1"}, {"loss_fn": "sqnr", "batch_size": 3})
def conv_same_upper(n):
    "Odd and even sizes, kernels and strides."
    t = n.relu(n.conv(n.x(8, 2, 7, 8), 4, 2, 3, 4, auto_pad="SAME_UPPER", strides=[2, 1]))
    t = n.relu(n.conv(t, 4, 4, 2, 3, auto_pad="SAME_UPPER", strides=[1, 3]))
    n.output(n.conv(t, 3, 4, 2, 2, auto_pad="SAME_UPPER"))


@model()
def conv_same_lower(n):
    t = n.relu(n.conv(n.x(8, 2, 7, 8), 4, 2, 4, 3, auto_pad="SAME_LOWER", strides=[1, 2]))
    t = n.relu(n.conv(t, 4, 4, 2, 2, auto_pad="SAME_LOWER", strides=[3, 1]))
    n.output(n.conv(t, 3, 4, 2, 3, auto_pad="SAME_LOWER"))


@model()
def conv_same_wide_stride(n):
    "A stride beyond the kernel, where SAME has nothing to pad."
    x = n.x(8, 2, 8, 9)
    n.output(n.conv(x, 4, 2, 1, 1, auto_pad="SAME_UPPER", strides=[2, 2]), n.conv(x, 4, 2, 2, 1, auto_pad="SAME_LOWER", strides=[3, 4]),
             n.conv(x, 4, 2, 1, 1, auto_pad="SAME_UPPER", strides=[4, 3]))


@model()
def conv_valid(n):
    "auto_pad VALID, and NOTSET said aloud; no kernel_shape."
    x = n.x(8, 2, 6, 7)
    t = n.relu(n.op("Conv", x, n.w(4, 2, 3, 2), auto_pad="VALID", strides=[2, 2]))
    n.output(n.op("Conv", t, n.w(3, 4, 2, 2), n.b(3), auto_pad="NOTSET", pads=[1, 0, 0, 1]))


@model()
def conv_pointwise_strided(n):
    t = n.relu(n.conv(n.x(8, 3, 6, 5), 5, 3, 1, 1, strides=[2, 3]))
    n.output(n.conv(t, 4, 5, 1, 1, pads=[1, 0, 1, 1], bias=False))


@model()
def conv_no_bias(n):
    "Bias left out, and given as an empty name."
    t = n.relu(n.conv(n.x(8, 2, 6, 6), 4, 2, 3, 3, bias=False))
    n.output(n.op("Conv", t, n.w(4, 4, 3, 3), "", kernel_shape=[3, 3]))


@model({}, {"loss_fn": "l1"}, {"loss_fn": "sqnr", "batch_size": 3})
def conv_wide(n):
    "More weights a channel than positions: the evidence is gathered the other way round."
    n.output(n.conv(n.x(8, 32, 3, 3), 3, 32, 3, 3))


# ---- matrices ---------------------------------------------------------------------------------------------------------------


@model({}, {"param_bw": 3}, {"loss_fn": "l1"}, {"loss_fn": "sqnr", "batch_size": 3})
def gemm_forms(n):
    "transB, none, alpha and beta, no C, C of every shape."
    t = n.relu(n.op("Gemm", n.x(32, 8), n.w(6, 8), n.b(6), transB=1))
    t = n.relu(n.op("Gemm", t, n.w(6, 7, fan_in=6), n.b(1, 7), alpha=0.5, beta=2.0))
    t = n.relu(n.op("Gemm", t, n.w(5, 7), transB=1, alpha=-1.5))
    t = n.relu(n.op("Gemm", t, n.w(5, 6, fan_in=5), n.const(numpy.float32(0.25))))
    n.output(n.op("Gemm", t, n.w(6, 4, fan_in=6), ""))


@model({}, {"loss_fn": "l1"}, {"loss_fn": "sqnr"})
def gemm_trans_a(n):
    t = n.op("Transpose", n.x(16, 8), perm=[1, 0])
    t = n.op("Gemm", t, n.w(8, 6, fan_in=8), n.b(6), transA=1)
    t = n.op("Transpose", n.relu(t))
    n.output(n.op("Gemm", t, n.w(5, 6), transA=1, transB=1, alpha=2.0))


@model({}, {"loss_fn": "l1"}, {"loss_fn": "sqnr"})
def gemm_alpha_zero(n):
    "Nothing comes out of the first Gemm but C: every candidate ties and the smallest wins."
    t = n.op("Gemm", n.x(16, 6), n.w(6, 5, fan_in=6), n.b(5), alpha=0.0)
    n.output(n.op("Gemm", t, n.w(5, 4, fan_in=5)))


@model({}, {"batch_size": 5}, {"loss_fn": "l1"}, {"loss_fn": "sqnr"})
def matmul_ranks(n):
    "Inputs of two, three and four dimensions."
    t = n.relu(n.linear(n.x(12, 6), 6, 8))
    t = n.op("Reshape", t, n.const(numpy.array([-1, 2, 4])))
    t = n.relu(n.linear(t, 4, 6))
    t = n.op("Reshape", t, n.const(numpy.array([-1, 2, 2, 3])))
    n.output(n.linear(t, 3, 5))


@model({"batch_size": 1})
def matmul_vector(n):
    "One row without its dimension."
    n.output(n.linear(n.op("Squeeze", n.x(16, 6, batch=1), n.const(numpy.array([0]))), 6, 5))


@model({}, {"param_bw": 8, "num_candidates": 5})
def matmul_transposed(n):
    "The weight behind a Transpose, as frameworks export a linear layer; perm given and by default."
    t = n.relu(n.op("MatMul", n.x(16, 3, 6), n.op("Transpose", n.w(5, 6), perm=[1, 0])))
    n.output(n.op("MatMul", t, n.op("Transpose", n.w(4, 5))))


@model()
def matmul_add(n):
    "The reference fuses MatMul and Add where the bias is a vector, with either order of operands."
    t = n.relu(n.op("Add", n.linear(n.x(16, 3, 6), 6, 5, name="/a/MatMul"), n.b(5), name="/a/Add"))
    t = n.relu(n.op("Add", n.b(6), n.linear(t, 5, 6, name="/b/MatMul"), name="/b/Add"))
    t = n.op("MatMul", t, n.op("Transpose", n.w(4, 6)), name="/c/MatMul")
    t = n.op("Add", t, n.b(4), name="/c/Add")
    n.output(n.op("Add", n.linear(t, 4, 5), n.b(1, 5)))


@model()
def matmul_dynamic(n):
    "Attention: three projections of one input, products of activations, a projection back."
    x = n.x(8, 4, 6)
    q, k, v = (n.linear(x, 6, 6) for _ in range(3))
    scores = n.op("Softmax", n.op("MatMul", q, n.op("Transpose", k, perm=[0, 2, 1])), axis=-1)
    t = n.linear(n.op("MatMul", scores, v), 6, 6)
    n.output(n.linear(n.op("Add", t, x), 6, 4))


@model()
def matmul_constant_left(n):
    "A constant on the left is not a weight, and is left alone."
    t = n.op("MatMul", n.w(4, 3), n.x(8, 3, 5))
    n.output(n.linear(t, 5, 4))


# ---- how weights are stored -------------------------------------------------------------------------------------------------


@model({"param_bw": 4})
def weight_forms(n):
    "Typed and raw initializers, Constant nodes."
    t = n.relu(n.conv(n.x(8, 2, 5, 5), 3, 2, 3, 3, w=n.w(3, 2, 3, 3, form="typed")))
    t = n.relu(n.conv(t, 4, 3, 2, 2, w=n.w(4, 3, 2, 2, form="node")))
    t = n.op("Flatten", t)
    t = n.op("MatMul", t, n.w(16, 6, fan_in=16, form="node"))
    n.output(n.op("Gemm", t, n.w(4, 6, form="typed"), transB=1))


@model()
def external_data(n):
    n.external = True
    t = n.relu(n.conv(n.x(8, 2, 6, 6), 8, 2, 3, 3))
    n.output(n.flat_gemm(t, 128))


@model()
def initializers_as_inputs(n):
    "Before IR version 4, initializers had to be listed as inputs."
    n.opset = 9
    t = n.relu(n.conv(n.x(8, 2, 5, 5), 4, 2, 3, 3))
    n.output(n.flat_gemm(t, 36))
    n.inputs += [helper.make_tensor_value_info(i.name, i.data_type, i.dims) for i in n.initializers]
    n.inputs = n.inputs[1:3] + n.inputs[:1] + n.inputs[3:]


@model()
def initializer_is_output(n):
    "A weight that the model hands out, too."
    w = n.w(6, 5, fan_in=6)
    n.output(n.op("MatMul", n.x(16, 6), w), w)


@model({}, {"param_bw": 8})
def half_precision(n):
    "A float16 model. The reference sums its losses in float16; these activations are small enough for that."
    n.float_type = TensorProto.FLOAT16
    t = n.relu(n.conv(n.x(8, 2, 4, 4, scale=0.5), 3, 2, 3, 3))
    t = n.op("MatMul", n.op("Flatten", t), n.w(12, 6, fan_in=12))
    n.output(n.op("Gemm", t, n.w(4, 6), n.b(4), transB=1))


@model()
def half_typed(n):
    "float16 weights in the typed field, where they are kept as int32."
    n.float_type = TensorProto.FLOAT16
    t = n.relu(n.conv(n.x(8, 2, 4, 4, scale=0.5), 3, 2, 3, 3, w=n.w(3, 2, 3, 3, form="typed")))
    n.output(n.op("MatMul", n.op("Flatten", t), n.w(12, 4, fan_in=12, form="node")))


@model()
def half_inside(n):
    "A float32 model with a float16 part between two Casts."
    t = n.linear(n.x(16, 6), 6, 5)
    t = n.op("Cast", t, to=TensorProto.FLOAT16)
    n.float_type = TensorProto.FLOAT16
    t = n.op("Add", t, n.b(5))
    n.float_type = TensorProto.FLOAT
    n.output(n.linear(n.op("Cast", t, to=TensorProto.FLOAT), 5, 4))


# ---- names, sharing, branches -----------------------------------------------------------------------------------------------


@model()
def nameless_nodes(n):
    t = n.relu(n.conv(n.x(8, 2, 5, 5), 3, 2, 3, 3, name=""))
    t = n.op("Conv", t, n.w(4, 3, 3, 3), name="")
    n.output(n.op("MatMul", n.op("Flatten", t, name=""), n.w(4, 4), name=""))


@model()
def duplicate_names(n):
    "ONNX Runtime refuses this model; the reference renames, and so do we."
    t = n.conv(n.x(8, 2, 5, 5), 3, 2, 3, 3, name="same")
    t = n.op("Tanh", n.op("Relu", t, name="same"), name="same")
    n.output(n.conv(t, 4, 3, 3, 3, name="same"))


@model()
def odd_names(n):
    "Tensors called like paths, with spaces, quotes, and letters of other alphabets."
    x = n.input("in: put/0", ["N", 6], n.data(16, 6))
    t = n.relu(n.op("MatMul", x, n.w(6, 5, fan_in=6, name='a "quoted"\tw\u00e9ight'), name='//x y/"M"'))
    n.output(n.op("MatMul", t, n.w(5, 4, fan_in=5, name="\u91cd\u307f::0"), name="\u5c64"))


@model()
def shared_at_one_depth(n):
    "Two layers, one weight, both fed by the input."
    w = n.w(4, 2, 3, 3)
    a, b = n.x(8, 2, 5, 5, name="a"), n.x(8, 2, 5, 5, name="b", scale=2.0)
    n.output(n.op("Add", n.relu(n.conv(a, 4, 2, 3, 3, w=w)), n.conv(b, 4, 2, 3, 3, w=w)))


@model({}, {"param_bw": 2})
def shared_at_two_depths(n):
    "The same weight again and again, as in a recurrence."
    w = n.w(6, 6)
    t = n.x(16, 6)
    for _ in range(3):
        t = n.op("Tanh", n.op("MatMul", t, w))
    n.output(n.linear(t, 6, 3))


@model()
def shared_deep_first(n):
    "The file names the deeper reader first."
    w = n.w(5, 5)
    x = n.x(16, 5)
    shallow = n.nodes
    n.nodes = []
    deep = n.op("MatMul", "mid", w)
    deep_nodes, n.nodes = n.nodes, shallow
    n.op("Relu", n.linear(x, 5, 5), out="mid")
    n.nodes += deep_nodes
    side = n.op("MatMul", n.op("Sigmoid", x), w)
    n.output(n.op("Add", deep, side))


@model()
def shared_both_ways(n):
    "One weight is used as it is and transposed, as with tied embeddings."
    w = n.w(5, 5)
    t = n.relu(n.op("MatMul", n.x(16, 5), w))
    t = n.op("MatMul", n.op("Tanh", t), n.op("Transpose", w, perm=[1, 0]))
    n.output(n.linear(t, 5, 4))


@model()
def function_with_layer(n):
    "A layer written as a function of the model, its weight an argument."
    n.opsets = [helper.make_opsetid("zoo", 1)]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    n.functions = [helper.make_function("zoo", "Linear", ["x", "w", "b"], ["y"], nodes, [helper.make_opsetid("", 17)])]
    t = n.op("Linear", n.linear(n.x(16, 6), 6, 5), n.w(5, 5), n.b(5), domain="zoo")
    n.output(n.linear(n.relu(t), 5, 4))


@model()
def shared_gemm(n):
    w = n.w(6, 6)
    t = n.relu(n.op("Gemm", n.x(16, 6), w, n.b(6), transB=1))
    n.output(n.op("Gemm", t, w, n.b(6), transB=1))


@model({}, {"loss_fn": "l1"}, {"loss_fn": "sqnr", "batch_size": 3})
def residual(n):
    x = n.x(8, 3, 5, 5)
    t = n.relu(n.conv(x, 3, 3, 3, 3, pads=[1, 1, 1, 1]))
    t = n.relu(n.op("Add", n.conv(t, 3, 3, 3, 3, pads=[1, 1, 1, 1]), x))
    u = n.relu(n.conv(t, 5, 3, 3, 3, strides=[2, 2]))
    n.output(n.op("Add", n.conv(u, 5, 5, 1, 1), n.conv(t, 5, 3, 3, 3, strides=[2, 2])))


@model()
def input_deep_in_the_graph(n):
    "The input comes back behind two layers, and makes the layers after it deeper."
    x = n.x(16, 6)
    t = n.linear(n.relu(n.linear(x, 6, 6)), 6, 6)
    t = n.op("Add", t, x)
    a = n.linear(t, 6, 4)
    n.output(n.linear(n.op("Mul", a, n.op("Slice", x, n.const(numpy.array([0])), n.const(numpy.array([4])), n.const(numpy.array([1])))), 4, 3))


@model()
def unequal_branches(n):
    "Branches of one, two and three layers meet."
    x = n.x(8, 2, 5, 5)
    a = n.conv(x, 3, 2, 1, 1)
    b = n.conv(n.relu(n.conv(x, 2, 2, 3, 3, pads=[1, 1, 1, 1])), 3, 2, 1, 1)
    c = n.conv(n.relu(n.conv(n.relu(n.conv(x, 4, 2, 1, 1)), 4, 1, 3, 3, group=4, pads=[1, 1, 1, 1])), 2, 4, 1, 1)
    n.output(n.conv(n.op("Concat", a, b, c, axis=1), 4, 8, 3, 3))


@model()
def two_inputs(n):
    a, b = n.x(16, 5, name="left"), n.x(16, 3, name="right", scale=3.0)
    t = n.op("Concat", n.linear(a, 5, 4), n.linear(b, 3, 4), axis=1)
    n.output(n.linear(t, 8, 3))


@model()
def two_outputs(n):
    "A layer's output is a result, and goes on."
    a = n.linear(n.x(16, 6), 6, 5)
    b = n.linear(n.relu(a), 5, 4)
    n.output(a, b, n.op("Softmax", b))


@model()
def unused_parts(n):
    "An input that nothing needs, a branch that ends nowhere, and an initializer that nobody reads."
    x = n.x(16, 6)
    n.x(16, 3, name="unused")
    n.op("Relu", n.linear(x, 6, 2), out="nowhere")
    n.w(3, 3)
    n.output(n.linear(n.relu(n.linear(x, 6, 5)), 5, 4))


@model({"exclude": ["second"]}, {"exclude": ["third"], "param_bw": 2})
def excluded(n):
    t = n.relu(n.conv(n.x(8, 2, 6, 6), 4, 2, 3, 3, name="first"))
    t = n.relu(n.conv(t, 4, 4, 3, 3, name="second"))
    n.output(n.conv(t, 3, 4, 2, 2, name="third"))


# ---- what runs between layers ------------------------------------------------------------------------------------------------


@model()
def batch_norm(n):
    t = n.conv(n.x(8, 2, 5, 5), 4, 2, 3, 3, bias=False)
    stats = [n.const(1 + 0.3 * n.numbers(4)), n.b(4), n.b(4), n.const(0.5 + numpy.abs(n.numbers(4)))]
    t = n.relu(n.op("BatchNormalization", t, *stats, epsilon=1e-5))
    n.output(n.conv(t, 3, 4, 1, 1))


@model()
def other_weighted_nodes(n):
    "ConvTranspose runs and is not searched."
    t = n.relu(n.conv(n.x(8, 2, 4, 4), 3, 2, 3, 3, pads=[1, 1, 1, 1]))
    t = n.relu(n.op("ConvTranspose", t, n.w(3, 4, 2, 2), n.b(4), strides=[2, 2]))
    n.output(n.conv(t, 3, 4, 3, 3, strides=[2, 2]))


@model()
def lstm(n):
    t = n.linear(n.x(8, 3, 5), 5, 4)
    t = n.op("Transpose", t, perm=[1, 0, 2])
    y = n.op("LSTM", t, n.w(1, 12, 4), n.w(1, 12, 3), n.b(1, 24), hidden_size=3)
    t = n.op("Transpose", n.op("Squeeze", y, n.const(numpy.array([1]))), perm=[1, 0, 2])
    n.output(n.linear(t, 3, 4))


@model()
def layer_norm(n):
    t = n.linear(n.x(8, 3, 6), 6, 6)
    t = n.op("LayerNormalization", t, n.const(1 + 0.2 * n.numbers(6)), n.b(6), axis=-1)
    n.output(n.linear(n.op("Mul", n.op("Sigmoid", t), t), 6, 4))


@model()
def pooling(n):
    t = n.relu(n.conv(n.x(8, 2, 8, 8), 4, 2, 3, 3, pads=[1, 1, 1, 1]))
    t = n.conv(n.op("MaxPool", t, kernel_shape=[2, 2], strides=[2, 2]), 4, 4, 3, 3)
    t = n.op("AveragePool", n.op("Clip", t, n.const(numpy.float32(0)), n.const(numpy.float32(1.5))), kernel_shape=[2, 2])
    n.output(n.flat_gemm(n.op("Resize", t, "", n.const(numpy.array([1, 1, 2, 2], numpy.float32)), mode="nearest"), 16))


def body(name, nodes, inputs, outputs):
    info = helper.make_tensor_value_info
    return helper.make_graph(nodes, name, [info(*i) for i in inputs], [info(*o) for o in outputs])


@model()
def if_captures(n):
    "Both bodies read tensors from outside, one of them through two layers, and so does the condition."
    x = n.x(16, 6)
    a = n.relu(n.linear(x, 6, 5))
    b = n.linear(a, 5, 5)
    mean = n.op("ReduceMean", b, keepdims=0)
    positive = n.op("Greater", mean, n.const(numpy.float32(-10)))
    yes = body("yes", [helper.make_node("Mul", [a, b], ["yes_out"])], [], [("yes_out", TensorProto.FLOAT, None)])
    no = body("no", [helper.make_node("Neg", [a], ["no_out"])], [], [("no_out", TensorProto.FLOAT, None)])
    t = n.op("If", positive, then_branch=yes, else_branch=no)
    n.output(n.linear(t, 5, 4))


def loop(n, times, state, nodes, **attributes):
    "A Loop of so many steps; nodes make state_out from state, i and what is outside."
    info = [("i", TensorProto.INT64, []), ("cond", TensorProto.BOOL, []), ("state", TensorProto.FLOAT, None)]
    outs = [("cond_out", TensorProto.BOOL, []), ("state_out", TensorProto.FLOAT, None)]
    step = body("step", [*nodes, helper.make_node("Identity", ["cond"], ["cond_out"])], info, outs)
    return n.op("Loop", n.const(numpy.array(times)), n.const(numpy.array(True)), state, body=step, **attributes)


@model()
def loop_captures(n):
    "A Loop between layers, whose body reads a layer's output and a constant."
    a = n.linear(n.x(16, 6), 6, 5, w="w1")
    half = n.const(numpy.float32(0.5))
    t = n.relu(n.linear(n.op("Tanh", a), 5, 5, w="w2"))
    if n.plain:
        for _ in range(3):
            t = n.op("Add", n.op("Mul", t, half), a)
    else:
        t = loop(n, 3, t, [helper.make_node("Mul", ["state", half], ["halved"]), helper.make_node("Add", ["halved", a], ["state_out"])])
    n.output(n.linear(t, 5, 4, w="w3"))


@model()
def nested_captures(n):
    "An If inside a Loop inside the graph reads a layer's output from two levels up."
    a = n.linear(n.x(16, 6), 6, 5, w="w1")
    t = n.linear(n.relu(a), 5, 5, w="w2")
    inner = [body(k, [helper.make_node(op, ["state", a], [k + "_out"])], [], [(k + "_out", TensorProto.FLOAT, None)])
             for k, op in (("plus", "Add"), ("minus", "Sub"))]
    if n.plain:
        for op in ("Sub", "Add", "Add"):
            t = n.op(op, t, a)
    else:
        t = loop(n, 3, t, [helper.make_node("Cast", ["i"], ["nonzero"], to=TensorProto.BOOL),
                           helper.make_node("If", ["nonzero"], ["state_out"], then_branch=inner[0], else_branch=inner[1])])
    n.output(n.linear(t, 5, 4, w="w3"))


@model()
def scan(n):
    "Scan over time, with a matrix product in its body: it runs and is not searched."
    t = n.op("Transpose", n.linear(n.x(8, 3, 5), 5, 4, w="w1"), perm=[1, 0, 2])
    zero = n.op("Mul", n.op("ReduceSum", t, n.const(numpy.array([0])), keepdims=0), n.const(numpy.float32(0)))
    w = n.const(n.numbers(4, 4, scale=0.4))
    nodes = [helper.make_node("MatMul", ["h", w], ["hw"]), helper.make_node("Add", ["hw", "xt"], ["s"]),
             helper.make_node("Tanh", ["s"], ["h_out"]), helper.make_node("Identity", ["h_out"], ["y"])]
    step = body("step", nodes, [("h", TensorProto.FLOAT, ["N", 4]), ("xt", TensorProto.FLOAT, ["N", 4])],
                [("h_out", TensorProto.FLOAT, ["N", 4]), ("y", TensorProto.FLOAT, ["N", 4])])
    _, ys = n.op("Scan", zero, t, n=2, num_scan_inputs=1, body=step)
    n.output(n.linear(ys, 4, 3, w="w2"))


@model({}, {"batch_size": 3})
def sequences(n):
    "A sequence made before a layer and read behind it crosses the cut."
    t = n.linear(n.x(8, 4, 6), 6, 6, w="w1")
    if n.plain:
        first, second = (n.op("Slice", t, n.const(numpy.array([k])), n.const(numpy.array([k + 2])), n.const(numpy.array([1]))) for k in (0, 2))
    else:
        parts = n.op("SplitToSequence", t, n.const(numpy.array(2)), axis=1)
        first = n.op("SequenceAt", parts, n.const(numpy.array(0)))
    mid = n.relu(n.linear(first, 6, 6, w="w2"))
    if not n.plain:
        second = n.op("SequenceAt", parts, n.const(numpy.array(1)))
    n.output(n.linear(n.op("Add", mid, second), 6, 4, w="w3"))


@model()
def optional_value(n):
    "A value of type optional crosses a cut."
    a = n.linear(n.x(16, 6), 6, 5, w="w1")
    kept = a if n.plain else n.op("Optional", a)
    b = n.relu(n.linear(a, 5, 5, w="w2"))
    n.output(n.linear(n.op("Add", kept if n.plain else n.op("OptionalGetElement", kept), b), 5, 4, w="w3"))


@model()
def local_function(n):
    "An activation that the exporter wrote as a function of the model, called twice."
    n.opsets = [helper.make_opsetid("zoo", 1)]
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    n.functions = [helper.make_function("zoo", "Swish", ["x"], ["y"], nodes, [helper.make_opsetid("", 17)])]
    t = n.op("Swish", n.linear(n.x(16, 6), 6, 5), domain="zoo")
    t = n.op("Swish", n.linear(t, 5, 5), domain="zoo")
    n.output(n.linear(t, 5, 4))


@model()
def dropout(n):
    "Training leftovers: Dropout with its mask, Identity."
    n.opset = 9
    t, _ = n.op("Dropout", n.linear(n.x(16, 6), 6, 5), n=2, ratio=0.5)
    n.output(n.linear(n.op("Identity", t), 5, 4))


@model()
def constants_folded_late(n):
    "Shapes, ranges and other things computed from constants, and from the shape of a layer's output."
    x = n.x(8, 2, 6, 6)
    t = n.relu(n.conv(x, 4, 2, 3, 3))
    shape = n.op("Shape", t)
    batch = n.op("Gather", shape, n.const(numpy.array([0])))
    rest = n.op("Mul", n.const(numpy.array([8])), n.const(numpy.array([8])))
    t = n.op("Reshape", t, n.op("Concat", batch, rest, axis=0))
    ramp = n.op("Cast", n.op("Range", n.const(numpy.array(0)), n.const(numpy.array(64)), n.const(numpy.array(1))), to=TensorProto.FLOAT)
    n.output(n.linear(n.op("Mul", t, n.op("Sin", ramp)), 64, 4))


# ---- inputs ------------------------------------------------------------------------------------------------------------------


@model({}, {"param_bw": 3})
def embedding(n):
    "Token numbers and a mask."
    ids = n.input("ids", ["N", "T"], n.rng.integers(0, 10, (12, 4)))
    mask = n.input("mask", ["N", "T"], n.rng.random((12, 4)) < 0.7)
    t = n.op("Gather", n.const(n.numbers(10, 6)), ids)
    t = n.op("Mul", t, n.op("Unsqueeze", n.op("Cast", mask, to=TensorProto.FLOAT), n.const(numpy.array([2]))))
    n.output(n.linear(n.relu(n.linear(t, 6, 5)), 5, 4))


@model()
def integer_input(n):
    "int32 numbers cast to float, and a Where with a boolean input."
    i = n.input("i", ["N", 6], n.rng.integers(-9, 9, (16, 6)), TensorProto.INT32)
    k = n.input("k", ["N", 1], n.rng.random((16, 1)) < 0.5)
    t = n.op("Mul", n.op("Cast", i, to=TensorProto.FLOAT), n.const(numpy.float32(0.125)))
    a = n.linear(t, 6, 5)
    n.output(n.linear(n.op("Where", k, a, n.op("Neg", a)), 5, 4))


@model()
def unnamed_dims(n):
    "Dimensions without name or number."
    n.output(n.flat_gemm(n.relu(n.conv(n.input("x", [None, 2, None, None], n.data(8, 2, 5, 5)), 4, 2, 3, 3)), 36))


@model()
def question_mark_dims(n):
    n.output(n.flat_gemm(n.relu(n.conv(n.input("x", ["?", 2, "?", "?"], n.data(8, 2, 5, 5)), 4, 2, 3, 3)), 36))


@model()
def negative_dims(n):
    "-1 for a dimension that may vary."
    n.output(n.linear(n.relu(n.linear(n.input("x", [-1, 6], n.data(16, 6)), 6, 5)), 5, 4))


@model()
def no_shape(n):
    "An input of unknown rank."
    n.output(n.linear(n.relu(n.linear(n.input("x", None, n.data(16, 6)), 6, 5)), 5, 4))


@model({"batch_size": 1})
def fixed_batch_1(n):
    x = n.x(12, 2, 5, 5, batch=1)
    t = n.op("Reshape", n.relu(n.conv(x, 4, 2, 3, 3)), n.const(numpy.array([1, 36])))
    n.output(n.linear(t, 36, 4))


@model({"batch_size": 4})
def fixed_batch_4(n):
    n.output(n.linear(n.relu(n.linear(n.x(16, 6, batch=4), 6, 5)), 5, 4))


# ---- operator sets -----------------------------------------------------------------------------------------------------------


def some_opset(version, ir):
    def build(n):
        n.opset, n.ir = version, ir
        t = n.relu(n.conv(n.x(8, 2, 5, 5), 4, 2, 3, 3))
        t = n.op("Reshape", t, n.const(numpy.array([-1, 36])))
        t = n.op("Gemm", t, n.w(5, 36), n.b(5), transB=1)
        n.output(n.linear(n.op("Softmax", t, axis=1), 5, 4))
    return build


for _version, _ir in ((7, 8), (9, 8), (11, 8), (13, 8), (21, 10), (24, 10), (26, 10)):
    MODELS[f"opset_{_version}"] = (some_opset(_version, _ir), [{}])


# ---- numbers -----------------------------------------------------------------------------------------------------------------


def put(n, name, change):
    """Changes a weight that is there already."""
    change(n.weights[name])
    for i, t in enumerate(n.initializers):
        if t.name == name:
            n.initializers[i] = numpy_helper.from_array(n.weights[name], name)
    return name


@model({}, {"param_bw": 2}, {"param_bw": 8}, {"loss_fn": "l1"}, {"loss_fn": "sqnr"})
def dead_and_tiny(n):
    "A channel of zeros, one below 1e-8, denormals, one single weight; channels of one sign only."
    def change(w):
        w[0] = 0
        w[1] *= 1e-9
        w[2] *= 1e-39
        w[3] = 0
        w[3].flat[4] = -0.5
        w[4] = numpy.abs(w[4])
        w[5] = -numpy.abs(w[5])
    x = n.x(8, 2, 5, 5)
    t = n.relu(n.conv(x, 8, 2, 3, 3, w=put(n, n.w(8, 2, 3, 3), change)))
    n.output(n.conv(t, 3, 8, 1, 1))


@model({}, {"loss_fn": "l1"}, {"loss_fn": "sqnr", "batch_size": 3})
def silent_input(n):
    "Two input channels are zero in all the data; one group sees nothing else."
    x = n.data(8, 4, 5, 5)
    x[:, 2:] = 0
    t = n.relu(n.conv(n.input("x", ["N", 4, 5, 5], x), 6, 2, 3, 3, group=2, bias=False))
    n.output(n.conv(t, 4, 6, 1, 1))


@model()
def big_and_small(n):
    "Channels whose sizes differ by many orders."
    def change(w):
        w *= numpy.logspace(-6, 6, w.shape[0], dtype=numpy.float32)[:, None]
    x = n.x(16, 6)
    t = n.op("Gemm", x, put(n, n.w(5, 6), change), transB=1)
    t = n.op("Tanh", t)
    n.output(n.linear(t, 5, 4))


@model({}, {"num_candidates": 37, "param_bw": 3})
def equal_weights(n):
    "All weights of a channel are the same, or powers of two: ties wherever they can be."
    def change(w):
        w[0] = 0.25
        w[1] = -0.5
        w[2] = numpy.array([1, -1, 0.5, -0.5, 0.25, -0.25], numpy.float32)
        w[3] = numpy.array([7, -8, 3, -4, 1, 0], numpy.float32) / 8
    n.output(n.op("Gemm", n.x(16, 6), put(n, n.w(5, 6), change), transB=1))


@model({"batch_size": 1})
def one_sample(n):
    n.output(n.linear(n.relu(n.conv(n.x(1, 2, 4, 4), 3, 2, 4, 4)), 1, 2))


# ---- what the reference cannot do at all -------------------------------------------------------------------------------------


@model({"exclude": ["first"]})
def exclude_first(n):
    "The first layer stays float."
    x = n.x(16, 6)
    if n.plain:
        x = n.op("Mul", x, n.const(numpy.float32(1)))
    t = n.relu(n.op("MatMul", x, n.w(6, 5, fan_in=6, name="w1"), name="first"))
    n.output(n.op("MatMul", n.relu(n.op("MatMul", t, n.w(5, 5, name="w2"))), n.w(5, 4, fan_in=5, name="w3")))


@model({"batch_size": 4})
def rejects_batch_1(n):
    "A Reshape that only fits batches of four."
    t = n.relu(n.op("MatMul", n.x(16, 6), n.w(6, 5, fan_in=6, name="w1")))
    t = n.op("Reshape", t, n.const(numpy.array([-1 if n.plain else 4, 5])))
    n.output(n.op("MatMul", t, n.w(5, 4, fan_in=5, name="w2")))


# The answer of these is worked out by the test, which knows that they are chains of MatMul, Relu and Reshape.
@model({"exclude": ["first"], "golden": "brute"})
def brute_exclude_first(n):
    exclude_first(n)


@model({"batch_size": 4, "golden": "brute"})
def brute_rejects_batch_1(n):
    rejects_batch_1(n)


@model({"golden": "brute"}, {"golden": "brute", "batch_size": 3, "param_bw": 5})
def brute_rank_3_weight(n):
    "A stack of matrices is no layer; it runs, and the layers around it are searched."
    t = n.relu(n.op("MatMul", n.x(8, 3, 6), n.w(6, 5, fan_in=6, name="w1")))
    t = n.op("MatMul", t, n.w(1, 5, 5, fan_in=5, name="stack"))
    n.output(n.op("MatMul", t, n.w(5, 4, fan_in=5, name="w2")))


# ---- writing -----------------------------------------------------------------------------------------------------------------


def case_name(name, settings):
    """conv2d and {"param_bw": 2} are conv2d-w2."""
    short = {"param_bw": "w", "num_candidates": "c", "batch_size": "b", "block_size": "block"}
    words = [settings[k] for k in ("loss_fn",) if k in settings]
    words += [f"{short[k]}{v}" for k, v in settings.items() if k in short] + list(settings.get("exclude", []))
    return "-".join([name, *words])


def write_model(name):
    function, _ = MODELS[name]
    n = Net(name)
    function(n)
    m = n.build()
    if n.external:
        onnx.save(m, HERE / f"{name}.onnx", save_as_external_data=True, location=f"{name}.data", size_threshold=256)
    else:
        (HERE / f"{name}.onnx").write_bytes(m.SerializeToString(deterministic=True))
    numpy.savez_compressed(HERE / f"{name}.npz", **n.calib)
    return n


def cases():
    return {case_name(name, s): {"model": name, **s} for name, (_, settings) in MODELS.items() for s in settings}


def write():
    for old in [*HERE.glob("*.onnx"), *HERE.glob("*.npz"), *HERE.glob("*.data")]:
        old.unlink()
    for name, (_, settings) in MODELS.items():
        n = write_model(name)
        if "golden" in settings[0]:
            numpy.savez_compressed(HERE / f"{name}.weights.npz", **n.weights)
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in cases().items()]
    (HERE / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


# ---- the reference -----------------------------------------------------------------------------------------------------------


def golden(case, settings, folder):
    """Runs the reference and keeps the encodings of what it searched."""
    import aimet_onnx
    from aimet_onnx.quantsim import set_blockwise_quantization_for_weights
    from aimet_onnx.sequential_mse.seq_mse import SeqMseParams, SequentialMse
    n = Net(settings["model"])
    n.plain = True
    MODELS[settings["model"]][0](n)
    m = n.build()
    weights = {i.name for i in m.graph.initializer}
    kept = [i for i in m.graph.input if i.name not in weights]  # older models list initializers as inputs
    del m.graph.input[:]
    m.graph.input.extend(kept)
    data = dict(numpy.load(HERE / f"{settings['model']}.npz"))
    size, samples = settings.get("batch_size", 32), len(next(iter(data.values())))
    batches = [{k: v[at:at + size] for k, v in data.items()} for at in range(0, samples, size)]
    sim = aimet_onnx.QuantizationSimModel(m, param_type=aimet_onnx.qtype.int(settings.get("param_bw", 4)), activation_type="int8",
                                          quant_scheme="min_max")
    if "block_size" in settings:
        set_blockwise_quantization_for_weights(sim, ("Conv", "Gemm", "MatMul"), settings.get("param_bw", 4), True, settings["block_size"])
    params = SeqMseParams(num_batches=None, num_candidates=settings.get("num_candidates", 20), loss_fn=settings.get("loss_fn", "mse"))
    SequentialMse(None, sim, params, batches, settings.get("exclude", [])).apply_seq_mse_algo()  # what apply_seq_mse() does, with a loss
    searched = {name for name, q in sim.qc_quantize_op_dict.items() if q.is_encoding_frozen()}
    sim.export(folder, case, export_model=False, encoding_version="1.0.0")
    encodings = json.loads((pathlib.Path(folder) / f"{case}.encodings").read_text())
    encodings["param_encodings"] = [p for p in encodings["param_encodings"] if p["name"] in searched]
    encodings["activation_encodings"] = []
    (HERE / "golden" / f"{case}.encodings").write_text(json.dumps(encodings) + "\n")


def write_golden(names):
    import tempfile
    import traceback
    (HERE / "golden").mkdir(exist_ok=True)
    for case, settings in cases().items():
        if "golden" in settings or (names and case not in names):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                golden(case, settings, folder)
                print(f"{case}: ok", flush=True)
            except Exception as e:  # whatever it is, the others are still wanted
                print(f"{case}: {type(e).__name__}: {str(e)[:300]}", flush=True)
                if names:
                    traceback.print_exc()


if __name__ == "__main__":
    if sys.argv[1:2] == ["golden"]:
        write_golden(sys.argv[2:])
    else:
        write()
