"""Writes ONNX models byte by byte, sound and broken ones: the tests need no onnx package, and no package would write most of these.

Field numbers are those of onnx.proto. Every function returns the bytes of one message.
"""
import numpy

FLOAT, INT64, FLOAT16, DOUBLE = 1, 7, 10, 11


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def field(number, value):
    """An integer, a text, or bytes (a message as well); a list is repeated, None is left out."""
    if value is None:
        return b""
    if isinstance(value, list):
        return b"".join(field(number, v) for v in value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def external(**entries):
    return [field(1, k) + field(2, str(v)) for k, v in entries.items()]


def tensor(name, array=None, dims=None, elem=FLOAT, raw=None, data=None):
    """An array, or what is given instead of it; data is the external_data entries."""
    if array is not None:
        array = numpy.asarray(array)
        elem = {"float32": FLOAT, "int64": INT64, "float16": FLOAT16, "float64": DOUBLE}[array.dtype.name] if elem == FLOAT else elem
        dims, raw = list(array.shape) if dims is None else dims, array.tobytes() if raw is None and data is None else raw
    return field(1, dims or []) + field(2, elem) + field(8, name) + field(9, raw) + field(13, data) + field(14, 1 if data else None)


def attribute(name, value):
    if isinstance(value, bytes):
        return field(1, name) + field(5, value) + field(20, 4)
    if isinstance(value, list):
        return field(1, name) + field(8, value) + field(20, 7)
    return field(1, name) + field(3, value) + field(20, 2)


def node(op, inputs, outputs, name="", **attributes):
    return field(1, inputs) + field(2, outputs) + field(3, name) + field(4, op) + field(5, [attribute(*a) for a in attributes.items()])


def value(name, dims=None, elem=FLOAT):
    shape = None if dims is None else field(1, [field(1, d) if isinstance(d, int) else field(2, d) for d in dims])
    return field(1, name) + field(2, field(1, field(1, elem) + field(2, shape)))


def model(nodes, inputs, outputs, initializers=(), ir=8, opset=17):
    graph = field(1, list(nodes)) + field(2, "g") + field(5, list(initializers)) + field(11, list(inputs)) + field(12, list(outputs))
    return field(1, ir) + field(7, graph) + field(8, field(2, opset))


def weight(*shape, seed=1):
    return numpy.random.default_rng(seed).normal(size=shape).astype(numpy.float32)


def two_layers(w1=None, w2=None, x=("N", 6)):
    """x [N,6] -> MatMul first -> Relu -> MatMul second -> y [N,4], with one's own weight tensors."""
    nodes = [node("MatMul", ["x", "w1"], ["a"], "first"), node("Relu", ["a"], ["b"], "relu"), node("MatMul", ["b", "w2"], ["y"], "second")]
    return model(nodes, [value("x", x)], [value("y")], [w1 or tensor("w1", weight(6, 5)), w2 or tensor("w2", weight(5, 4, seed=2))])
