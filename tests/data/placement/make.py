#!/usr/bin/env python3
"""Makes the small models of this folder, and what the reference makes of them.

    make.py                  MODEL.onnx; needs onnx and numpy
    make.py golden [MODEL …] MODEL.json; needs aimet_onnx 2.42.0 as well

Every function under @model is one model, and its docstring says what it is for. No number in them matters. MODEL.json holds, for every
configuration in CONFIGS, the ops that the reference sees and its quantizers in order; configurations with equal results stand together. Where
the reference stops, its message stands there.
"""
import json
import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
MODELS = {}

# name: (configuration, bits of parameters, type of activations)
CONFIGS = {name: (name, 4, "int8") for name in
           ("default", "per-tensor", "dsp", "htp_v66", "htp_v68", "htp_v69", "htp_v73", "htp_v81", "enpu_v6", "enpu_v7", "enpu_v7_per_channel")}
CONFIGS |= {"custom": ("custom.json", 4, "int8"), "strict": ("strict.json", 4, "int8"), "bare": ("bare.json", 4, "int8"),
            "default-w8a16": ("default", 8, "int16"), "htp_v81-w8a16": ("htp_v81", 8, "int16"),
            "htp_v68-w8a16": ("htp_v68", 8, "int16"), "htp_v81-w16a16": ("htp_v81", 16, "int16"), "htp_v73-fp16": ("htp_v73", 4, "float16")}


def model(function):
    MODELS[function.__name__] = function
    return function


class Net:
    """A graph under construction. Methods that add a tensor return its name."""

    def __init__(self, opset=17):
        self.opset, self.count = opset, 0
        self.nodes, self.inputs, self.outputs, self.initializers = [], [], [], []

    def fresh(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    def x(self, *shape, name="x", elem=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, elem, ["N", *shape]))
        return name

    def const(self, array, name=None, node=False):
        array = numpy.asarray(array)
        array = array.astype(numpy.float32) if array.dtype == numpy.float64 else array
        name = name or self.fresh("c")
        tensor = numpy_helper.from_array(array, name)
        if node:
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"/Constant_{name}", value=tensor))
        else:
            self.initializers.append(tensor)
        return name

    def w(self, *shape, name=None, node=False):
        return self.const(numpy.linspace(-1, 1, int(numpy.prod(shape))).reshape(shape), name, node)

    def op(self, op_type, *inputs, name=None, out=None, outs=None, **attributes):
        outs = outs or [out or self.fresh(op_type.lower() + "_")]
        node = helper.make_node(op_type, list(inputs), outs, name=self.fresh(f"/{op_type}_") if name is None else name, **attributes)
        self.nodes.append(node)
        return outs[0] if len(outs) == 1 else outs

    def conv(self, x, cin, cout, k=1, name=None, bias=True, **attributes):
        group = attributes.get("group", 1)
        extra = [self.w(cout)] if bias else []
        return self.op("Conv", x, self.w(cout, cin // group, k, k), *extra, name=name, **attributes)

    def linear(self, x, k, n, prefix=None, bias_first=False):
        """MatMul and Add, as exporters write a linear layer."""
        prefix = prefix or self.fresh("/linear")
        y = self.op("MatMul", x, self.w(k, n), name=f"{prefix}/MatMul")
        b = self.w(n)
        return self.op("Add", *((b, y) if bias_first else (y, b)), name=f"{prefix}/Add")

    def end(self, *names):
        self.outputs += names

    def build(self, name):
        outputs = [helper.make_empty_tensor_value_info(n) for n in self.outputs]
        graph = helper.make_graph(self.nodes, name, self.inputs, outputs, self.initializers)
        m = helper.make_model(graph, ir_version=8 if self.opset < 19 else 10, opset_imports=[helper.make_opsetid("", self.opset)], producer_name="make.py")
        typed = onnx.shape_inference.infer_shapes(m, strict_mode=True)
        del m.graph.output[:]
        m.graph.output.extend(typed.graph.output)
        for v in m.graph.output:
            if not v.type.WhichOneof("value"):
                v.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 4, 6, 6]))
        onnx.checker.check_model(m)
        return m


@model
def chains():
    """Supergroups: Conv → Relu, Conv → Clip, Conv → BatchNormalization → Relu, Add → Relu, Gemm → Relu, ConvTranspose → Relu."""
    n = Net()
    a = n.op("Relu", n.conv(n.x(4, 6, 6), 4, 4))
    b = n.op("Clip", n.conv(a, 4, 4), n.const(0.0), n.const(6.0))
    bn = n.op("BatchNormalization", n.conv(b, 4, 4), n.w(4), n.w(4), n.w(4), n.const(numpy.ones(4)))
    c = n.op("Relu", bn)
    d = n.op("Relu", n.op("Add", c, a))
    e = n.op("Relu", n.op("ConvTranspose", d, n.w(4, 3, 1, 1), n.w(3)))
    f = n.op("Flatten", n.op("GlobalAveragePool", e))
    n.end(n.op("Relu", n.op("Gemm", f, n.w(5, 3), n.w(5), transB=1)))
    return n


@model
def activations():
    """Convolutions and sums in front of every activation that some hardware takes in."""
    n = Net()
    x = n.x(4, 6, 6)
    for kind in ("Sigmoid", "Tanh", "LeakyRelu", "HardSwish"):
        x = n.op(kind, n.conv(x, 4, 4))
    x = n.op("PRelu", n.conv(x, 4, 4), n.w(4, 1, 1))
    x = n.op("LeakyRelu", n.op("Transpose", n.conv(x, 4, 4), perm=[0, 2, 3, 1]))
    x = n.op("Relu", n.op("Transpose", x, perm=[0, 3, 1, 2]))
    x = n.op("HardSwish", n.op("BatchNormalization", n.conv(x, 4, 4), n.w(4), n.w(4), n.w(4), n.const(numpy.ones(4))))
    x = n.op("Sigmoid", n.op("Mul", x, n.op("Tanh", n.op("Sub", x, n.w(4, 1, 1)))))
    x = n.op("Relu", n.op("MaxPool", x, kernel_shape=[2, 2]))
    n.end(n.op("Relu", n.op("AveragePool", x, kernel_shape=[2, 2])))
    return n


@model
def fan_out():
    """Chains that another reader interrupts, and one whose inner tensor is an output of the graph, which does not interrupt."""
    n = Net()
    a = n.conv(n.x(4, 6, 6), 4, 4)
    b = n.op("Relu", a)
    c = n.op("Add", a, b)
    d = n.conv(c, 4, 4)
    e = n.op("Relu", d, out="e")
    f = n.op("Mul", c, c)
    g = n.op("Relu", f)
    n.end(d, e, n.op("Relu", n.op("Add", g, e)))
    return n


@model
def depthwise():
    """Depthwise and three-dimensional convolutions are in no supergroup, so Relu shares its input's grid; a grouped one is."""
    n = Net()
    a = n.op("Relu", n.conv(n.x(4, 6, 6), 4, 4, 3, group=4))
    b = n.op("Relu", n.conv(a, 4, 4, 3, group=2))
    c = n.op("ConvTranspose", b, n.w(4, 1, 2, 2), group=4)
    d = n.op("Relu", c)
    e = n.op("ConvTranspose", d, n.w(4, 2, 2, 2), group=2)
    f = n.op("Unsqueeze", n.op("Relu", e), n.const(numpy.array([2])))
    n.end(n.op("Relu", n.op("Conv", f, n.w(3, 4, 1, 1, 1))))
    return n


@model
def pools():
    """AveragePool and Resize keep their input's grid, GlobalAveragePool has its own, MaxPool and data movement have none."""
    n = Net()
    a = n.conv(n.x(4, 8, 8), 4, 4)
    b = n.op("AveragePool", a, kernel_shape=[2, 2], strides=[2, 2])
    c = n.op("Resize", b, "", n.const(numpy.array([1, 1, 2, 2], dtype=numpy.float32)), mode="nearest")
    d = n.op("MaxPool", n.conv(c, 4, 4), kernel_shape=[2, 2])
    e = n.op("Relu", n.op("Transpose", n.op("Reshape", d, n.const(numpy.array([0, 4, 49]))), perm=[0, 2, 1]))
    f = n.op("GlobalAveragePool", c)
    n.end(e, f, n.op("Pad", c, n.const(numpy.array([0, 0, 1, 1, 0, 0, 1, 1]))))
    return n


@model
def concat_tree():
    """Concat of Concat: all sources that nothing else reads share the last one's grid."""
    n = Net()
    x = n.x(4, 6, 6)
    a, b, c = n.conv(x, 4, 4), n.conv(x, 4, 4), n.op("Relu", n.conv(x, 4, 4))
    inner = n.op("Concat", a, n.op("Reshape", b, n.const(numpy.array([0, 4, 6, 6]))), axis=1)
    shared = n.op("Concat", inner, c, axis=1)
    again = n.op("Concat", c, n.op("MaxPool", shared, kernel_shape=[1, 1]), axis=1)
    n.end(again, n.op("Relu", again))
    return n


@model
def concat_ranges():
    """Sigmoid and Softmax into Concat: with given ranges the output inherits one; next to a free one the given stay."""
    n = Net()
    x = n.x(4, 6, 6)
    a = n.op("Concat", n.op("Sigmoid", n.conv(x, 4, 4)), n.op("Softmax", n.conv(x, 4, 4), axis=1), axis=1)
    b = n.op("Concat", n.op("Sigmoid", n.conv(x, 4, 4)), n.conv(x, 4, 4), axis=1)
    c = n.op("Concat", n.op("Sigmoid", n.conv(x, 4, 4)), n.op("Tanh", n.conv(x, 4, 4)), axis=1)
    d = n.op("Concat", c, x, axis=1)
    n.end(n.conv(a, 8, 2), n.conv(b, 8, 2), n.conv(d, 12, 2))
    return n


@model
def concat_constants():
    """Concat with a constant, with the graph's input, with itself, and with what has several readers."""
    n = Net()
    x = n.x(4, 6)
    a = n.op("Mul", x, n.w(4, 6))
    b = n.op("Concat", a, a, axis=1)
    c = n.op("Concat", b, n.op("Add", x, n.const(1.0)), x, axis=1)
    d = n.op("ScatterND", c, n.const(numpy.zeros((1, 1), dtype=numpy.int64)), n.op("Slice", n.op("Mul", c, n.const(2.0)), n.const(numpy.array([0])), n.const(numpy.array([1]))))
    n.end(d, b)
    return n


@model
def linear_layers():
    """MatMul + Add becomes a Gemm with a name of its own: bias first or last, with and without names, behind Transpose, shared prefix."""
    n = Net()
    a = n.op("Relu", n.linear(n.x(3, 8), 8, 8, "/block/fc"))
    b = n.linear(a, 8, 8, "/block/two", bias_first=True)
    c = n.op("MatMul", b, n.w(8, 8), name="plain1")
    c = n.op("Add", c, n.w(8), name="plain2")
    t = n.op("Transpose", n.w(6, 8), perm=[1, 0], name="/t/Transpose")
    d = n.op("Add", n.op("MatMul", c, t, name="/t/MatMul"), n.w(6), name="/t/Add")
    t = n.op("Transpose", n.w(6, 6), name="/u/Transpose")
    e = n.op("Relu", n.op("Add", n.w(6, node=True), n.op("MatMul", d, t, name="/u/MatMul"), name="/u/Add"))
    for k in range(2):
        e = n.op("Add", n.op("MatMul", e, n.w(6, 6), name=f"/same/MatMul_{k}"), n.w(6), name=f"/same/Add_{k}")
    e = n.op("Add", n.op("MatMul", e, n.w(6, 6, node=True), name=""), n.w(6), name="")
    n.end(e)
    return n


@model
def linear_not_fused():
    """MatMul + Add that stay: matrix bias, weight of rank 3, product read twice, product an output, dynamic weight, left constant."""
    n = Net()
    x = n.x(3, 8)
    a = n.op("Add", n.op("MatMul", x, n.w(8, 8)), n.w(1, 8))
    b = n.op("Relu", n.op("Add", n.op("MatMul", a, n.w(1, 8, 8)), n.w(8)))
    p = n.op("MatMul", b, n.w(8, 8))
    c = n.op("Mul", n.op("Add", p, n.w(8)), p)
    q = n.op("MatMul", c, n.w(8, 8), out="q")
    d = n.op("Add", q, n.w(8))
    e = n.op("Add", n.op("MatMul", d, n.op("Transpose", d, perm=[0, 2, 1])), n.w(3))
    f = n.op("MatMul", n.w(5, 3), e)
    n.end(q, n.op("Add", f, n.w(3)))
    return n


@model
def attention():
    """Products of two activations: the second operand is symmetric; reached through Reshape and Transpose; Softmax in front."""
    n = Net()
    x = n.x(4, 8)
    q, k, v = (n.linear(x, 8, 8, f"/attn/{s}") for s in "qkv")
    heads = n.const(numpy.array([0, 4, 2, 4]))
    q, k, v = (n.op("Transpose", n.op("Reshape", t, heads), perm=p) for t, p in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3])))
    s = n.op("Div", n.op("MatMul", q, k), n.const(2.0))
    s = n.op("Softmax", n.op("Add", s, n.const(numpy.zeros((1, 1, 4, 4)))), axis=-1)
    y = n.op("Reshape", n.op("Transpose", n.op("MatMul", s, v), perm=[0, 2, 1, 3]), n.const(numpy.array([0, 4, 8])))
    n.end(n.op("Add", n.linear(y, 8, 8, "/attn/o"), x))
    return n


def layer_norm(n, x, prefix, size=8, axes=None, shift=True, divide="Div", square="Pow", eps_first=False, node=False):
    """A normalization spelled out."""
    axes = axes or [-1]
    mean = (lambda t, s: n.op("ReduceMean", t, axes=axes, name=f"{prefix}/{s}")) if n.opset < 18 else \
        (lambda t, s: n.op("ReduceMean", t, n.const(numpy.array(axes)), name=f"{prefix}/{s}"))
    c = n.op("Sub", x, mean(x, "ReduceMean"), name=f"{prefix}/Sub") if shift else x
    two, eps = n.const(2.0, node=node), n.const(1e-5, node=node)
    s = n.op("Pow", c, two, name=f"{prefix}/Pow") if square == "Pow" else n.op("Mul", c, c, name=f"{prefix}/Square")
    v = mean(s, "ReduceMean_1")
    e = n.op("Add", *((eps, v) if eps_first else (v, eps)), name=f"{prefix}/Eps")
    if divide == "rsqrt":
        y = n.op("Mul", c, n.op("Pow", e, n.const(-0.5), name=f"{prefix}/Pow_1"), name=f"{prefix}/Normal")
    else:
        r = n.op("Sqrt", e, name=f"{prefix}/Sqrt")
        if divide == "Div":
            y = n.op("Div", c, r, name=f"{prefix}/Div")
        elif divide == "Reciprocal":
            y = n.op("Mul", n.op("Reciprocal", r, name=f"{prefix}/Reciprocal"), c, name=f"{prefix}/Normal")
        else:
            y = n.op("Mul", c, n.op("Div", n.const(1.0), r, name=f"{prefix}/Inverse"), name=f"{prefix}/Normal")
    return n.op("Mul", y, n.w(size), name=f"{prefix}/Mul") if size else y


@model
def layer_norms():
    """Layer normalizations in eight or nine nodes, every spelling; the last has an addend that is no constant."""
    n = Net()
    x = n.x(3, 8)
    for k, how in enumerate(("Div", "Reciprocal", "Inverse", "rsqrt")):
        y = layer_norm(n, x, f"/ln{k}", divide=how, square="Pow" if k % 2 else "Mul", eps_first=k == 1, node=k == 2)
        x = n.op("Add", y, n.w(8), name=f"/ln{k}/Add") if k != 3 else n.op("Add", x, y, name="/ln3/Add")
    n.end(n.linear(x, 8, 4, "/head"))
    return n


@model
def layer_norms_opset18():
    """The same with the axes as an input, which the fusion of layer norms does not know."""
    n = Net(18)
    x = n.x(3, 8)
    y = layer_norm(n, x, "/ln")
    n.end(n.linear(n.op("Add", y, n.w(8), name="/ln/Add"), 8, 4, "/head"))
    return n


@model
def norms_not_fused():
    """Layer norms over two axes, with a scale of another place, without a scale, with a branch inside."""
    n = Net()
    x = n.x(3, 8)
    a = layer_norm(n, x, "/two", axes=[-2, -1])
    a = n.op("Add", a, n.w(8), name="/two/Add")
    b = layer_norm(n, a, "/bare", size=0)
    c = layer_norm(n, b, "/branch")
    inner = next(node.output[0] for node in n.nodes if node.name == "/branch/Sqrt")
    n.end(n.op("Mul", c, inner))
    return n


@model
def rms_norms():
    """Root mean square norms, scaled or not, and with casts around."""
    n = Net()
    x = n.x(3, 8)
    for k, how in enumerate(("Div", "Reciprocal", "Inverse", "rsqrt")):
        x = layer_norm(n, x, f"/rms{k}", shift=False, divide=how, size=8 if k != 2 else 0)
    h = n.op("Cast", n.op("Cast", x, to=TensorProto.FLOAT16), to=TensorProto.FLOAT, name="/rmsc/Cast")
    y = layer_norm(n, h, "/rmsc", shift=False, size=0)
    y = n.op("Mul", n.w(8), n.op("Cast", y, to=TensorProto.FLOAT, name="/rmsc/Cast_1"), name="/rmsc/Scale")
    n.end(n.linear(y, 8, 4, "/head"))
    return n


@model
def norm_ops():
    """Normalizations that are ops: LayerNormalization, InstanceNormalization, BatchNormalization with and without Conv in front."""
    n = Net()
    x = n.conv(n.x(4, 6, 6), 4, 4)
    x = n.op("BatchNormalization", x, n.w(4), n.w(4), n.w(4), n.const(numpy.ones(4)))
    x = n.op("InstanceNormalization", n.op("Relu", x), n.w(4), n.w(4))
    x = n.op("BatchNormalization", n.op("MaxPool", x, kernel_shape=[2, 2]), n.w(4), n.w(4), n.w(4), n.const(numpy.ones(4)))
    n.end(n.op("LayerNormalization", x, n.w(5), n.w(5)))
    return n


@model
def group_norm():
    """GroupNormalization."""
    n = Net(21)
    x = n.conv(n.x(4, 6, 6), 4, 4)
    n.end(n.op("GroupNormalization", x, n.w(4), n.w(4), num_groups=2))
    return n


@model
def constants():
    """Constants that are no parameters: operands, slopes, bounds, tables, regions; in initializers and Constant nodes."""
    n = Net()
    table = n.op("Gather", n.w(10, 4), n.x(3, name="ids", elem=TensorProto.INT64))
    y = n.op("Mul", table, n.const(0.5, node=True))
    y = n.op("Where", n.op("Greater", y, n.const(0.0)), y, n.const(-1.0))
    y = n.op("Clip", y, n.const(-3.0, node=True), n.const(3.0))
    y = n.op("PRelu", y, n.w(4))
    y = n.op("Pow", n.op("Sin", n.op("Add", y, n.w(3, 4, node=True))), n.const(2.0))
    n.end(n.op("Max", y, n.const(0.1)), n.op("ReduceMax", y, axes=[1]))
    return n


@model
def shared_weights():
    """A weight of two layers, a bias of two, and the same tensor as weight and operand."""
    n = Net()
    w, b = n.w(8, 8), n.w(8)
    x = n.x(3, 8)
    a = n.op("MatMul", x, w)
    c = n.op("MatMul", n.op("Tanh", a), w)
    d = n.op("Gemm", n.op("Reshape", c, n.const(numpy.array([-1, 8]))), n.w(8, 8), b)
    e = n.op("Gemm", d, n.w(8, 8), b, transB=1)
    n.end(n.op("Mul", e, b))
    return n


@model
def weights_behind():
    """Weights behind Identity, Transpose and Cast."""
    n = Net()
    x = n.conv(n.x(4, 4, 4), 4, 4)
    x = n.op("Conv", x, n.op("Identity", n.w(4, 4, 1, 1)), n.op("Identity", n.op("Identity", n.w(4))))
    x = n.op("Reshape", x, n.const(numpy.array([-1, 8])))
    x = n.op("MatMul", x, n.op("Transpose", n.w(6, 8), perm=[1, 0]))
    x = n.op("Gemm", x, n.op("Transpose", n.w(6, 6)), n.w(6))
    x = n.op("MatMul", x, n.op("Identity", n.w(6, 6)))
    n.end(n.op("MatMul", x, n.op("Cast", n.const(numpy.ones((6, 3), dtype=numpy.float16)), to=TensorProto.FLOAT)))
    return n


@model
def recurrent():
    """LSTM, GRU and RNN: the input, the outputs and the hidden state share one grid."""
    n = Net()
    x = n.op("Tanh", n.x(3, 4))
    h = n.op("Mul", n.const(numpy.ones((1, 3, 4))), n.const(0.5))
    y, y_h, y_c = n.op("LSTM", x, n.w(1, 16, 4), n.w(1, 16, 4), n.w(1, 32), "", h, n.const(numpy.zeros((1, 3, 4))), outs=["y", "y_h", "y_c"], hidden_size=4)
    z = n.op("Squeeze", y, n.const(numpy.array([1])))
    g, g_h = n.op("GRU", z, n.w(1, 12, 4), n.w(1, 12, 4), n.w(1, 24), outs=["g", "g_h"], hidden_size=4)
    r = n.op("RNN", n.op("Squeeze", g, n.const(numpy.array([1]))), n.w(1, 4, 4), n.w(1, 4, 4), hidden_size=4)
    n.end(r, y_h, y_c, g_h)
    return n


@model
def relu_inputs():
    """Relu after the graph's input, after Add, after a shared tensor, and twice in a row: given and free ranges meet."""
    n = Net()
    x = n.x(4, 6, 6)
    a = n.op("Relu", x)
    b = n.conv(a, 4, 4)
    c, d = n.op("Relu", b), n.op("Add", b, a)
    e = n.op("Relu", n.op("Relu", n.op("Mul", c, d)))
    f = n.op("MaxPool", e, kernel_shape=[2, 2])
    g = n.op("Relu", n.op("Reshape", f, n.const(numpy.array([0, -1]))))
    h = n.op("Tanh", n.op("Flatten", f))
    n.end(g, h)
    return n


@model
def softmax_relu():
    """Two given ranges for one grid: the reference refuses it, and so do we."""
    n = Net()
    n.end(n.op("Relu", n.op("Softmax", n.conv(n.x(4, 6, 6), 4, 4), axis=1)))
    return n


@model
def softmax_matmul():
    """A given range 0 … 1 that has to be symmetric, because it is a product's second operand."""
    n = Net()
    x = n.x(4, 4)
    s = n.op("Softmax", n.op("MatMul", x, n.w(4, 4)), axis=-1)
    n.end(n.op("MatMul", x, s), n.op("MatMul", x, n.op("Relu", n.op("MatMul", x, s))))
    return n


@model
def casts():
    """Casts between floats carry a grid on, casts to integers do not."""
    n = Net()
    x = n.op("Tanh", n.x(4, 4))
    h = n.op("Cast", x, to=TensorProto.FLOAT16)
    y = n.op("Relu", n.op("Cast", h, to=TensorProto.FLOAT))
    i = n.op("Cast", n.op("Cast", y, to=TensorProto.INT32), to=TensorProto.FLOAT)
    n.end(n.op("Relu", i), n.op("MatMul", x, n.op("Transpose", y, perm=[0, 2, 1])))
    return n


@model
def splits():
    """Several outputs: Split, TopK, MaxPool with indices, Dropout; unused outputs."""
    n = Net()
    x = n.conv(n.x(4, 6, 6), 4, 4)
    a, b = n.op("Split", x, outs=["a", "b"], axis=1)
    p, i = n.op("MaxPool", a, outs=["p", "i"], kernel_shape=[2, 2])
    v, k = n.op("TopK", b, n.const(numpy.array([2])), outs=["v", "k"], axis=-1)
    d, m = n.op("Dropout", p, outs=["d", "m"])
    n.end(n.op("Relu", d), n.op("Relu", v), n.linear(n.op("Reshape", v, n.const(numpy.array([-1, 4]))), 4, 4, "/head"))
    return n


@model
def dead_ends():
    """Ops that lead to no output: the reference keeps them unless it fused something."""
    n = Net()
    x = n.x(3, 8)
    n.op("Tanh", n.op("Sigmoid", x, out="dead"), out="deader")
    n.end(n.linear(x, 8, 4, "/head"), n.op("Relu", x))
    return n


@model
def dead_ends_kept():
    """Nothing is fused here."""
    n = Net()
    x = n.x(8)
    n.op("Tanh", n.op("Sigmoid", x, out="dead"), out="deader")
    n.end(n.op("Gemm", x, n.w(8, 4)))
    return n


@model
def convolutions_1d_3d():
    """Convolutions in one and three dimensions."""
    n = Net()
    a = n.op("Relu", n.op("Conv", n.x(4, 6), n.w(4, 4, 3), n.w(4)))
    b = n.op("Relu", n.op("Conv", n.x(2, 4, 4, 4, name="volume"), n.w(3, 2, 1, 1, 1)))
    n.end(n.op("Relu", n.op("ConvTranspose", a, n.w(4, 2, 3))), b)
    return n


@model
def dynamic_weights():
    """A convolution and a Gemm whose weights are computed."""
    n = Net()
    w = n.op("Tanh", n.w(4, 4, 1, 1))
    x = n.op("Relu", n.op("Conv", n.x(4, 6, 6), w, n.w(4)))
    y = n.op("Reshape", x, n.const(numpy.array([-1, 6])))
    n.end(n.op("Relu", n.op("Gemm", y, n.op("Mul", n.w(6, 6), n.const(0.5)), n.w(6))))
    return n


@model
def masked_softmax():
    """The masked softmax that a configuration can ask for."""
    n = Net()
    x = n.x(2, 4, 4)
    mask = n.x(2, 4, 4, name="mask", elem=TensorProto.BOOL)
    low = n.op("Add", n.op("ReduceMin", x, n.const(numpy.array([-1]))), n.const(-100.0))
    n.opset = 18
    n.end(n.op("Softmax", n.op("Where", mask, x, low), axis=-1))
    return n


@model
def order():
    """Branches of unequal length, in an order of the file that is not depth first."""
    n = Net()
    x = n.conv(n.x(4, 6, 6), 4, 4)
    a1, b1 = n.conv(x, 4, 4), n.op("AveragePool", x, kernel_shape=[1, 1])
    a2 = n.op("AveragePool", a1, kernel_shape=[1, 1])
    b2, a3 = n.op("Relu", b1), n.op("Relu", a2)
    c = n.op("Concat", b2, a3, n.op("Relu", b2), axis=1)
    n.end(n.op("AveragePool", n.op("Concat", c, n.op("AveragePool", c, kernel_shape=[1, 1]), axis=1), kernel_shape=[2, 2]))
    return n


@model
def half():
    """A float16 model."""
    n = Net()
    n.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["N", 4]))
    y = n.op("MatMul", "x", n.const(numpy.ones((4, 4), dtype=numpy.float16)))
    y = n.op("Add", y, n.const(numpy.ones(4, dtype=numpy.float16)))
    n.end(n.op("Relu", n.op("Mul", y, n.const(numpy.float16(2)))))
    return n


# ---- what the reference makes of them ----

ALIASES = {"per-tensor": "default_config.json", "dsp": "dsp_quantsim_config.json", "enpu_v7_per_channel": "enpu_quantsim_config_v7_per_channel.json"}


def row(q):
    """A quantizer in one line: "w on param int4 sym channel 0", "y off int8 asym tensor 0.0..1.0 = x"."""
    fixed = q["constraint"] and f"{float(q['constraint'][0])}..{'' if q['constraint'][1] is None else float(q['constraint'][1])}"
    words = [q["name"], "on" if q["enabled"] else "off", "param" if q["param"] else "", f"{q['dtype']}{q['bitwidth']}",
             "sym" if q["symmetric"] else "asym", "strict" if q["strict"] else "", "unsigned" if q["unsigned"] else "",
             q["type"].split("_")[-1].lower(), str(q["channel_axis"] if q["channel_axis"] is not None else ""), fixed,
             " ".join(["=", *q["shared_with"]]) if q["shared_with"] else ""]
    return " ".join(filter(None, words))


def placement(path, config, param_bw, act_type):
    from aimet_onnx.quantsim import QuantizationSimModel
    sim = QuantizationSimModel(onnx.load(path), param_type=f"int{param_bw}", activation_type=act_type,
                               config_file=str(HERE / config) if config.endswith(".json") else ALIASES.get(config, config))
    quantizers = []
    for name, q in sim.qc_quantize_op_dict.items():
        fixed, info = q._encoding_min_max_fixed_vals, q.quant_info
        quantizers.append({
            "name": name, "enabled": bool(q.enabled), "param": name in sim.param_names, "bitwidth": q.bitwidth,
            "dtype": "float" if "float" in str(q.data_type) else "int",
            "symmetric": bool(q.use_symmetric_encodings), "strict": bool(q.use_strict_symmetric), "unsigned": bool(q.use_unsigned_symmetric),
            "type": "PER_CHANNEL" if info.usePerChannelMode else "PER_TENSOR", "channel_axis": info.channelAxis if info.usePerChannelMode else None,
            "constraint": list(fixed) if fixed and fixed != (None, None) else None,
            "shared_with": sorted(n for n, other in sim.qc_quantize_op_dict.items() if other is q and n != name)})
    return {"ops": [op.name for op in sim.connected_graph.get_all_ops().values()], "quantizers": [row(q) for q in quantizers]}


def golden(names):
    for name in names:
        results = {}
        for key, settings in CONFIGS.items():
            try:
                result = placement(HERE / f"{name}.onnx", *settings)
            except Exception as e:  # the reference stops in many ways
                result = {"stops": f"{type(e).__name__}: {str(e)[:200]}"}
            results.setdefault(json.dumps(result), []).append(key)
        lines = []
        for text, keys in results.items():
            result = json.loads(text)
            rows = ",\n".join("   " + json.dumps(q) for q in result.pop("quantizers", []))
            head = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in result.items())
            lines.append(f' {{"configs": {json.dumps(keys)}, {head}' + (f', "quantizers": [\n{rows}]}}' if rows else "}"))
        (HERE / f"{name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
        print(name, {",".join(k): json.loads(t).get("stops", "") for t, k in results.items()})


def main():
    if sys.argv[1:2] == ["golden"]:
        golden(sys.argv[2:] or sorted(MODELS))
        return
    (HERE / "configs.json").write_text("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in CONFIGS.items()) + "\n}\n")
    for name, function in MODELS.items():
        (HERE / f"{name}.onnx").write_bytes(function().build(name).SerializeToString())


if __name__ == "__main__":
    main()
