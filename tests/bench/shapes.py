#!/usr/bin/env python3
"""Writes models with the shapes of well-known networks, with weights and data from a generator with a fixed seed: what a search costs
does not depend on what a network has learned.

    shapes.py MODEL SAMPLES DIR      DIR/model.onnx and DIR/calib.npz; MODEL is one of mobilenetv2, resnet18, resnet50

Batch normalization counts as folded: every Conv has a bias. Weights have the spread that keeps activations of size one (He et al.,
2015), with a few outliers, so that shrinking a range pays.
"""
import pathlib
import sys

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from onnx_bytes import model, node, tensor, value  # noqa: E402

SIZE = 224


class Net:
    """A graph under construction; methods add a node to a tensor and return the new tensor's name."""

    def __init__(self, seed):
        self.rng, self.nodes, self.weights, self.channels = numpy.random.default_rng(seed), [], [], {"image": 3}

    def add(self, op, inputs, channels, **attributes):
        out = f"t{len(self.nodes)}"
        self.nodes.append(node(op, inputs, [out], f"{op}_{len(self.nodes)}", **attributes))
        self.channels[out] = channels
        return out

    def constant(self, array):
        self.weights.append(tensor(f"w{len(self.weights)}", array.astype(numpy.float32)))
        return f"w{len(self.weights) - 1}"

    def numbers(self, *shape, spread):
        outliers = numpy.where(self.rng.random(shape) < 0.01, 3.0, 1.0)
        return self.constant(self.rng.normal(size=shape) * outliers * spread)

    def conv(self, x, out, k, stride=1, groups=1, relu=None, gain=2.0):
        fan_in = self.channels[x] // groups * k * k
        w = self.numbers(out, self.channels[x] // groups, k, k, spread=(gain / fan_in) ** 0.5)
        y = self.add("Conv", [x, w, self.numbers(out, spread=0.1)], out, kernel_shape=[k, k], strides=[stride, stride],
                     pads=[k // 2] * 4, group=groups)
        if relu == "Clip":
            return self.add("Clip", [y, "zero", "six"], out)
        return self.add(relu, [y], out) if relu else y

    def join(self, a, b):
        return self.add("Add", [a, b], self.channels[a])

    def classify(self, x, classes=1000):
        y = self.add("GlobalAveragePool", [x], self.channels[x])
        y = self.add("Flatten", [y], self.channels[x])
        w = self.numbers(classes, self.channels[x], spread=self.channels[x] ** -0.5)
        return self.add("Gemm", [y, w, self.numbers(classes, spread=0.1)], classes, transB=1)

    def write(self, path, out):
        limits = [tensor("zero", numpy.zeros((), numpy.float32)), tensor("six", numpy.full((), 6, numpy.float32))]
        path.write_bytes(model(self.nodes, [value("image", ("N", 3, SIZE, SIZE))], [value(out, ("N", self.channels[out]))],
                               self.weights + limits))


def mobilenetv2(net):
    x = net.conv("image", 32, 3, 2, relu="Clip")
    for expand, out, repeat, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(repeat):
            y, wide = x, net.channels[x] * expand
            if expand > 1:
                y = net.conv(y, wide, 1, relu="Clip")
            y = net.conv(y, wide, 3, stride if i == 0 else 1, groups=wide, relu="Clip")
            y = net.conv(y, out, 1, gain=1.0)
            x = net.join(x, y) if i > 0 else y
    return net.classify(net.conv(x, 1280, 1, relu="Clip"))


def resnet(net, blocks, wide):
    """Blocks of two 3x3 convolutions, or, where wide is 4, of 1x1, 3x3 and 1x1 with four times the channels."""
    x = net.conv("image", 64, 7, 2, relu="Relu")
    x = net.add("MaxPool", [x], 64, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for level, repeat in enumerate(blocks):
        for i in range(repeat):
            c, stride = 64 << level, 2 if level and i == 0 else 1
            if wide == 1:
                y = net.conv(net.conv(x, c, 3, stride, relu="Relu"), c, 3, gain=1.0)
            else:
                y = net.conv(net.conv(net.conv(x, c, 1, relu="Relu"), c, 3, stride, relu="Relu"), c * wide, 1, gain=1.0)
            if stride > 1 or net.channels[x] != c * wide:
                x = net.conv(x, c * wide, 1, stride, gain=1.0)
            x = net.add("Relu", [net.join(x, y)], c * wide)
    return net.classify(x)


MODELS = {"mobilenetv2": mobilenetv2, "resnet18": lambda net: resnet(net, (2, 2, 2, 2), 1),
          "resnet50": lambda net: resnet(net, (3, 4, 6, 3), 4)}


def pictures(samples, rng):
    """Smooth random fields with some noise: neighbouring pixels are alike, as in photos."""
    out = numpy.empty((samples, 3, SIZE, SIZE), numpy.float32)
    for picture in out:
        coarse = rng.normal(size=(3, 14, 14)).repeat(16, 1).repeat(16, 2)
        middle = rng.normal(size=(3, 56, 56)).repeat(4, 1).repeat(4, 2)
        picture[:] = coarse + 0.5 * middle + 0.2 * rng.normal(size=picture.shape)
    return out


def write(name, samples, folder):
    """What the command line asks for; data of fewer samples are the beginning of those of more."""
    folder.mkdir(parents=True, exist_ok=True)
    net = Net(seed=2024)
    net.write(folder / "model.onnx", MODELS[name](net))
    numpy.savez(folder / "calib.npz", image=pictures(samples, numpy.random.default_rng(1)))


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in MODELS:
        sys.exit(__doc__)
    write(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]))
