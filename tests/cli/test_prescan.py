"""Models that are made to harm: each is refused at once, with a word that says why, and by `inspect` as by `quantize`."""
import subprocess
import time

import numpy
import pytest

from onnx_bytes import FLOAT, INT64, external, field, model, node, tensor, two_layers, value, varint, weight

BIG = 1 << 27


def graph(nodes=(), initializers=(), more=b""):
    """Two sound layers, and beside them what is given."""
    sound = [node("MatMul", ["x", "w1"], ["a"], "first"), node("MatMul", ["a", "w2"], ["y"], "second")]
    return model([*sound, *nodes], [value("x", ("N", 6))], [value("y")],
                 [tensor("w1", weight(6, 5)), tensor("w2", weight(5, 4, seed=2)), *initializers]) + more


def ints(name, *v):
    return tensor(name, numpy.array(v, numpy.int64))


def floats(name, *v):
    return tensor(name, numpy.array(v, numpy.float32))


def sparse(values, indices, dims):
    return field(15, field(1, values) + field(2, indices) + field(3, list(dims)))


def sparse_model(values, indices, dims):
    """The graph's field is added as one more graph would be: so by hand."""
    g = field(1, [node("MatMul", ["x", "w1"], ["y"], "first")]) + field(2, "g") + field(5, tensor("w1", weight(6, 5))) + \
        sparse(values, indices, dims) + field(11, value("x", ("N", 6))) + field(12, value("y"))
    return field(1, 8) + field(7, g) + field(8, field(2, 17))


def function(name, nodes, domain="local"):
    return field(25, field(1, name) + field(4, ["x"]) + field(5, ["y"]) + field(7, nodes) + field(9, field(2, 17)) + field(10, domain))


def call(name, domain="local", n=1):
    return [field(1, "x") + field(2, f"y{i}") + field(4, name) + field(7, domain) for i in range(n)]


def nested_types(n):
    t = field(1, field(1, FLOAT))
    for _ in range(n):
        t = field(4, field(1, t))  # a sequence of it
    return field(1, "s") + field(2, t)


def nested_graphs(n):
    g = b""
    for _ in range(n):
        g = field(1, field(4, "If") + field(5, field(1, "then_branch") + field(6, g) + field(20, 5)))
    return g


def shape_node(op, *inputs, **attributes):
    return node(op, list(inputs), [f"made_by_{op}"], op, **attributes)


BOMBS = {
    # what made runtimes take a gigabyte
    "ConstantOfShape": (graph([shape_node("ConstantOfShape", "s")], [ints("s", BIG)]), "unsupported-graph", "ConstantOfShape"),
    "ConstantOfShape_of_Constant": (graph([node("Constant", [], ["s"], "c", value_ints=[1 << 14, 1 << 14]), shape_node("ConstantOfShape", "s")]),
                                    "unsupported-graph", "ConstantOfShape"),
    "ConstantOfShape_of_a_tensor": (graph([field(2, "s") + field(4, "Constant") + field(5, field(1, "value") + field(5, ints("", BIG)) + field(20, 4)),
                                           shape_node("ConstantOfShape", "s")]), "unsupported-graph", "ConstantOfShape"),
    "Expand": (graph([shape_node("Expand", "x", "s")], [ints("s", BIG, 1, 1)]), "unsupported-graph", "Expand"),
    "Tile": (graph([shape_node("Tile", "x", "s")], [ints("s", 1 << 14, 1 << 14)]), "unsupported-graph", "Tile"),
    "Tile_of_a_constant": (graph([shape_node("Tile", "big", "s")], [tensor("big", weight(1000)), ints("s", 1 << 20)]), "unsupported-graph", "Tile"),
    "Pad": (graph([shape_node("Pad", "x", "p")], [ints("p", 0, 0, 0, 1 << 40)]), "unsupported-graph", "Pad"),
    "Range": (graph([shape_node("Range", "a0", "b0", "c0")], [tensor("a0", numpy.array(0, numpy.int64)), tensor("b0", numpy.array(1 << 40, numpy.int64)),
                                                              tensor("c0", numpy.array(1, numpy.int64))]), "unsupported-graph", "Range"),
    "Range_of_nothing": (graph([shape_node("Range", "a0", "b0", "c0")], [floats("a0", 0), floats("b0", 1), floats("c0", 0)]), "unsupported-graph", "Range"),
    "Resize": (graph([shape_node("Resize", "x", "", "", "s")], [ints("s", 1 << 15, 1 << 15)]), "unsupported-graph", "Resize"),
    "Resize_by_scales": (graph([shape_node("Resize", "x", "", "s")], [floats("s", 1e5, 1e5)]), "unsupported-graph", "Resize"),
    "OneHot": (graph([shape_node("OneHot", "x", "d", "v")], [ints("d", 1 << 40), floats("v", 0, 1)]), "unsupported-graph", "OneHot"),
    "RandomNormal": (graph([shape_node("RandomNormal", shape=[1 << 15, 1 << 15])]), "unsupported-graph", "RandomNormal"),
    "sparse_that_unfolds": (sparse_model(floats("sp", 1), ints("i", 0), [1 << 28]), "unsupported-graph", "unfold"),
    # sizes that lie
    "negative_dim": (two_layers(w1=tensor("w1", dims=[-1, 5], raw=b"")), "not-an-onnx", "dimension"),
    "overflowing_dims": (two_layers(w1=tensor("w1", dims=[1 << 33, 1 << 33], raw=b"")), "not-an-onnx", "dimension"),
    "too_many_dims": (two_layers(w1=tensor("w1", dims=[1] * 65, raw=b"\0" * 4)), "not-an-onnx", "dimensions"),
    "raw_data_too_short": (two_layers(w1=tensor("w1", dims=[6, 5], raw=b"\0" * 116)), "not-an-onnx", "116 bytes"),
    "raw_data_of_four_bits": (graph([], [tensor("q", dims=[5], elem=22, raw=b"\0" * 5)]), "not-an-onnx", "5 bytes"),
    "typed_data_too_short": (two_layers(w1=field(1, [6, 5]) + field(2, FLOAT) + field(4, b"\0" * 116) + field(8, "w1")), "not-an-onnx", "data"),
    "no_data": (two_layers(w1=field(1, [6, 5]) + field(2, FLOAT) + field(8, "w1")), "not-an-onnx", "data"),
    "unknown_type": (graph([], [tensor("q", dims=[1], elem=99, raw=b"\0")]), "not-an-onnx", "type"),
    "no_data_in_a_body": (graph([field(4, "If") + field(5, field(1, "then_branch") + field(6, field(5, field(1, 9) + field(2, FLOAT) + field(8, "t"))))]),
                          "not-an-onnx", "data"),
    "sparse_overflow": (sparse_model(floats("sp", 1), ints("i", 0), [1 << 40, 1 << 40]), "not-an-onnx", "dimension"),
    "sparse_index_outside": (sparse_model(floats("sp", 1), ints("i", 30), [30]), "not-an-onnx", "out of range"),
    "sparse_index_negative": (sparse_model(floats("sp", 1), ints("i", -1), [30]), "not-an-onnx", "out of range"),
    "sparse_coordinates_outside": (sparse_model(floats("sp", 1), tensor("i", numpy.array([[1, 5]], numpy.int64)), [6, 5]), "not-an-onnx", "out of range"),
    "sparse_too_few_indices": (sparse_model(floats("sp", 1, 2), ints("i", 0), [30]), "not-an-onnx", "indices"),
    # files and addresses
    "external_above": (two_layers(w1=tensor("w1", dims=[6, 5], data=external(location="../w"))), "unsupported-graph", "plain name"),
    "external_absolute": (two_layers(w1=tensor("w1", dims=[6, 5], data=external(location="/etc/passwd"))), "unsupported-graph", "plain name"),
    "external_detour": (two_layers(w1=tensor("w1", dims=[6, 5], data=external(location="a/../../b"))), "unsupported-graph", "plain name"),
    "address": (two_layers(w1=tensor("w1", dims=[6, 5], data=external(location="*/_ORT_MEM_ADDR_/*", offset=4096, length=120))), "unsupported-graph",
                "in memory"),
    "address_not_external": (two_layers(w1=tensor("w1", dims=[6, 5], raw=b"\0" * 120) + field(13, external(location="*/_ORT_MEM_ADDR_/*"))),
                             "unsupported-graph", "in memory"),
    "address_in_Constant": (graph([field(2, "k") + field(4, "Constant") + field(5, field(1, "value") + field(5, tensor(
        "k", dims=[4], data=external(location="*/_ORT_MEM_ADDR_/*", offset=8, length=16))) + field(20, 4))]), "unsupported-graph", "in memory"),
    "address_in_a_function": (graph(more=field(25, field(1, "f") + field(10, "local") + field(11, field(1, "a") + field(5, tensor(
        "k", dims=[4], data=external(location="*/_ORT_MEM_ADDR_/*")))))), "unsupported-graph", "in memory"),
    "EPContext": (graph([field(4, "EPContext") + field(7, "com.microsoft")]), "unsupported-graph", "EPContext"),
    "foreign_domain": (graph([field(4, "Exec") + field(7, "org.example")]), "unsupported-graph", "org.example"),
    # names
    "two_tensors_of_a_name": (graph([], [floats("t", 1), floats("t", 2)]), "not-an-onnx", "two tensors"),
    "dense_and_sparse_of_a_name": (sparse_model(floats("w1", 1), ints("i", 0), [30]), "not-an-onnx", "two tensors"),
    "long_name": (graph([node("Relu", ["x"], ["r" * 70000])]), "unsupported-graph", "name"),
    "zero_byte": (graph([node("Relu", ["x"], ["a\0b"])]), "not-an-onnx", "zero byte"),
    # shapes of the file
    "two_graphs": (two_layers() + field(7, field(2, "again")), "not-an-onnx", "twice"),
    "two_tensors_in_one_attribute": (graph([field(2, "k") + field(4, "Constant") + field(5, field(1, "value") + field(5, floats("", 1)) + field(5, floats("", 1)))]),
                                     "not-an-onnx", "twice"),
    "types_in_types": (model([node("Relu", ["x"], ["y"])], [value("x", ("N", 6)), nested_types(5000)], [value("y")]), "unsupported-graph", "nested"),
    "graphs_in_graphs": (field(1, 8) + field(7, nested_graphs(17)) + field(8, field(2, 17)), "unsupported-graph", "nested"),
    "group": (two_layers() + varint(9 << 3 | 3) + varint(9 << 3 | 4), "not-an-onnx", "damaged"),
    "many_nodes": (graph([node("Relu", ["x"], [""])] * 100001), "unsupported-graph", "nodes"),
    "many_parts": (graph([node("Relu", ["x"], [""] + [""] * 4000000)]), "unsupported-graph", "parts"),
    # functions
    "function_that_calls_itself": (graph(call("f")) + function("f", call("f")), "unsupported-graph", "circle"),
    "functions_in_a_circle": (graph(call("f")) + function("f", call("g")) + function("g", call("h")) + function("h", call("f")), "unsupported-graph", "circle"),
    "functions_too_deep": (graph(call("f0")) + b"".join(function(f"f{i}", call(f"f{i + 1}")) for i in range(9)) + function("f9", []), "unsupported-graph",
                           "deeper"),
    "functions_that_explode": (graph(call("f0")) + b"".join(function(f"f{i}", call(f"f{i + 1}", n=20)) for i in range(6)) + function("f6", call("Relu", "")),
                               "unsupported-graph", "put in place"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(work, run, name):
    content, code, word = BOMBS[name]
    work.model.write_bytes(content)
    for command in (["inspect", work.model], ["quantize", work.model, work.calib, "-o", work.out]):
        start = time.monotonic()
        done = run(*command)
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert f"({code})" in done.stderr and word in done.stderr and len(done.stderr) < 400, done.stderr
        assert time.monotonic() - start < 100
    assert not work.out.exists()


SOUND = {
    "plain": graph(),
    "ordinary_sizes": graph([node("Shape", ["x"], ["sh"]), shape_node("ConstantOfShape", "sh"), shape_node("Expand", "x", "s"), shape_node("Tile", "x", "s"),
                             shape_node("Range", "a0", "b0", "c0")],
                            [ints("s", 4, 1), ints("a0", 0), ints("b0", 1024), ints("c0", 1)]),
    "shrinking": graph([shape_node("Resize", "x", "", "s")], [floats("s", 1, 0.5)]),
    "functions": graph(call("f0")) + b"".join(function(f"f{i}", call(f"f{i + 1}", n=2)) for i in range(7)) + function("f7", call("Relu", "")),
    "nested_graphs": field(1, 8) + field(7, nested_graphs(15) + field(1, node("MatMul", ["x", "w1"], ["y"])) + field(5, tensor("w1", weight(6, 5))) +
                                         field(11, value("x", ("N", 6))) + field(12, value("y"))) + field(8, field(2, 17)),
    "four_bits": graph([], [tensor("q", dims=[5], elem=22, raw=b"\0" * 3)]),
    "empty_tensor": graph([], [tensor("q", dims=[0], raw=b""), tensor("r", dims=[0, 7], elem=INT64, raw=b"")]),
    "long_prose": graph(more=field(6, "prose " * 100000)),
    "sparse": sparse_model(floats("sp", 1, 2), ints("i", 0, 29), [6, 5]),
    "unpacked_numbers": two_layers(w1=field(1, [6, 5]) + field(2, FLOAT) + (varint(4 << 3 | 5) + b"\0\0\x80\x3f") * 30 + field(8, "w1")),
    "same_name_in_another_graph": graph([field(1, "x") + field(4, "If") + field(5, field(1, "then_branch") + field(6, field(5, floats("t", 1))) + field(20, 5))],
                                        [floats("t", 1)]),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_models_pass(work, run, name):
    work.model.write_bytes(SOUND[name])
    done = run("inspect", work.model)
    assert done.returncode == 0, done.stderr


def test_a_large_model_is_scanned_quickly(work, run):
    """A hundred thousand nodes less one, and as many tensors."""
    n = 99990
    nodes = [node("Add", ["x" if i == 0 else f"v{i - 1}", f"t{i}"], [f"v{i}"]) for i in range(n)]
    work.model.write_bytes(graph(nodes, [floats(f"t{i}", i) for i in range(n)]))
    start = time.monotonic()
    done = run("inspect", work.model)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 100, subprocess.list2cmdline(done.args)


