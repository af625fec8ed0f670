"""Makes the models and x.npz beside this file: ops as old operator sets write them, all on one input. Needs onnx and numpy."""

import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


class Model:
    def __init__(self, opset):
        self.opset, self.nodes, self.constants, self.outputs = opset, [], [], []

    def constant(self, value, dtype):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(numpy.array(value, dtype), name))
        return name

    def add(self, op, *inputs, outputs=1, body=None, **attributes):
        """The node's float outputs become the graph's; returns the first one's name."""
        at = len(self.nodes)
        names = [f"{op}_{at}" + "abcd"[k] for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, f"node_{at}", **attributes))
        self.outputs.append(names[0])
        return names[0]

    def save(self, name):
        graph = helper.make_graph(
            self.nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in self.outputs], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=4)
        model.producer_name = ""
        onnx.save(model, HERE / f"{name}.onnx")


def pools_and_norms(m):
    m.add("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])
    m.add("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])
    ones, zeros = m.constant([1.5] * 3, "f4"), m.constant([0.25] * 3, "f4")
    m.add("BatchNormalization", "x", ones, zeros, zeros, ones)
    m.add("Dropout", "x", ratio=0.25)


def attributes(m):
    """Axes and the like as attributes."""
    m.add("Clip", "x", min=-0.5, max=0.25)
    m.add("Clip", "x", max=0.25)
    m.add("Clip", "x")
    m.add("Squeeze", m.add("Unsqueeze", "x", axes=[1, 3]), axes=[1])
    m.add("ReduceSum", "x", axes=[1, 2], keepdims=0)
    m.add("ReduceSum", "x")
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"):
        m.add(op, "x", axes=[2, 3])
    m.add("Split", "x", outputs=2, axis=2, split=[3, 5])
    m.add("Split", "x", outputs=3, axis=1)


def softmaxes(m):
    """Of matrices, whatever the rank."""
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        m.add(op, "x")
        m.add(op, "x", axis=2)
        m.add(op, "x", axis=3)


def paddings(m):
    m.add("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 4], value=0.5)
    m.add("Pad", "x", pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="reflect")


m = Model(7)
pools_and_norms(m)
attributes(m)
softmaxes(m)
paddings(m)
m.add("Slice", "x", starts=[1, 2], ends=[3, 6], axes=[1, 3])
m.add("TopK", "x", outputs=2, k=3, axis=3)
m.add("Upsample", "x", scales=[1.0, 1.0, 2.0, 2.0], mode="nearest")
m.add("Upsample", "x", scales=[1.0, 1.0, 2.0, 2.0], mode="linear")
m.save("opset7")

m = Model(9)
scales = m.constant([1, 1, 2, 2], "f4")
m.add("Upsample", "x", scales, mode="nearest")
m.add("Scatter", "x", m.constant(numpy.arange(6).reshape(1, 3, 1, 2) % 8, "i8"), m.constant(numpy.ones((1, 3, 1, 2)), "f4"), axis=3)
attributes(m)
m.save("opset9")

m = Model(10)
scales = m.constant([1, 1, 2, 2], "f4")
m.add("Resize", "x", scales, mode="nearest")
m.add("Resize", "x", m.constant([1, 1, 0.5, 0.5], "f4"), mode="linear")
m.add("RoiAlign", "x", m.constant([[0, 0, 6, 6]], "f4"), m.constant([0], "i8"), output_height=2, output_width=2)
m.add("TopK", "x", m.constant([2], "i8"), outputs=2, axis=1)
m.save("opset10")

m = Model(11)
pools_and_norms(m)
softmaxes(m)
m.add("Resize", "x", m.constant([], "f4"), m.constant([1, 1, 2, 2], "f4"), mode="linear", coordinate_transformation_mode="half_pixel")
m.add("Clip", "x", m.constant(-0.5, "f4"), m.constant(0.5, "f4"))
branch = [helper.make_node("Squeeze", ["Unsqueeze_in"], ["branch_out"], "in_branch", axes=[0])]
first = helper.make_graph([helper.make_node("Unsqueeze", ["x"], ["Unsqueeze_in"], "before", axes=[0])] + branch, "then", [],
                          [helper.make_tensor_value_info("branch_out", TensorProto.FLOAT, None)])
other = helper.make_graph([helper.make_node("ReduceSum", ["x"], ["else_out"], "sum", axes=[1])], "else", [],
                          [helper.make_tensor_value_info("else_out", TensorProto.FLOAT, None)])
m.add("If", m.constant(True, "?"), then_branch=first, else_branch=other)
m.save("opset11")

m = Model(16)
grid = m.constant(numpy.random.default_rng(1).uniform(-1, 1, (4, 5, 5, 2)), "f4")
m.add("GridSample", "x", grid, mode="bilinear")
m.add("GridSample", "x", grid)
m.add("ReduceMean", "x", axes=[1])
m.add("Split", "x", outputs=3, axis=1)
m.save("opset16")

# What has no such form in newer sets.
m = Model(7)
ones = m.constant(numpy.ones((3, 8, 8)), "f4")
m.add("BatchNormalization", "x", ones, ones, ones, ones, spatial=0)
m.save("refused_batch_norm")

m = Model(18)
m.add("GroupNormalization", "x", m.constant([1.5], "f4"), m.constant([0.5], "f4"), num_groups=1)
m.save("refused_group_norm")

m = Model(17)
m.add("DFT", m.add("Unsqueeze", "x", m.constant([4], "i8")), axis=2)
m.save("refused_dft")

numpy.savez(HERE / "x.npz", x=numpy.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype("f4"))
