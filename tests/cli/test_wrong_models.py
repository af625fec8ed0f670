"""Models that are none, are damaged, or cannot be searched: one line that names the file, and nothing left behind."""
import numpy
import pytest

from conftest import TOP
from onnx_bytes import (DOUBLE, FLOAT16, external, field, model, node, tensor, two_layers, value, varint, weight)

RELU = [node("Relu", ["x"], ["y"], "relu")]
X, Y = [value("x", ["N", 6])], [value("y")]


def matmul(*initializers, nodes=None, inputs=None, outputs=None):
    return model(nodes or [node("MatMul", ["x", "w"], ["y"], "layer")], inputs or X, outputs or Y, initializers)


W = tensor("w", weight(6, 5))


# ---- not ONNX ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"hello, world\n", b"\0" * 100, b"PK\3\4" + b"\0" * 60, b"\x89PNG\r\n\x1a\n", b"{}", b"\x08",
                                     b"\x08\x08", b"\x3a\x00", b"\x08\x08\x3a\x00", bytes(range(256)), b"\xff" * 1000,
                                     field(1, 8) + b"\x3a" + varint(1 << 40), field(1, 8) + b"\x3a" + varint(1 << 63)])
def test_not_onnx(work, refused, content):
    work.model.write_bytes(content)
    message = refused("unsupported-graph" if content == b"\x08\x08\x3a\x00" else "not-an-onnx", work.model)
    assert len(message) < 300


@pytest.mark.parametrize("seed", range(10))
def test_random_bytes(work, refused, seed):
    work.model.write_bytes(numpy.random.default_rng(seed).bytes(2000))
    refused("not-an-onnx", work.model)


def test_data_in_place_of_the_model(work, refused):
    work.model.write_bytes(work.calib.read_bytes())
    refused("not-an-onnx", work.model)


def test_missing_model(work, refused):
    work.model.unlink()
    refused("not-found", work.model)


def test_folder_in_place_of_the_model(work, refused):
    work.model.unlink()
    work.model.mkdir()
    refused("not-an-onnx", work.model)


def test_unreadable_name_does_not_break_the_message(work, run):
    done = run("quantize", "no\nsuch\tfile.onnx", work.calib, "-o", work.out)
    assert done.returncode == 1 and not work.out.exists()


# ---- damaged ----------------------------------------------------------------------------------------------------------------


def harmless_or_refused(quantize, work):
    """Damage may go unnoticed; otherwise there is one line that names the model, or the layer that overflows, and nothing is left."""
    done = quantize("--quiet")
    if done.returncode == 0:
        for file in work.out.iterdir():
            file.unlink()
        work.out.rmdir()
        return
    assert done.returncode == 1 and done.stderr.startswith("seqmsed: ") and len(done.stderr.splitlines()) == 1, done.stderr
    assert "(internal)" not in done.stderr, done.stderr
    assert str(work.model) in done.stderr or "layer" in done.stderr and "(non-finite-activation)" in done.stderr, done.stderr
    assert not work.out.exists()


SAMPLE = TOP / "tests/data/zoo"


@pytest.mark.parametrize("name", ["weight_forms", "if_captures"])
def test_truncated(work, quantize, name):
    whole = (SAMPLE / f"{name}.onnx").read_bytes()
    work.calib.write_bytes((SAMPLE / f"{name}.npz").read_bytes())
    for at in [*range(0, 60), *range(60, len(whole), 29), *range(len(whole) - 20, len(whole))]:
        work.model.write_bytes(whole[:at])
        harmless_or_refused(quantize, work)


@pytest.mark.parametrize("name", ["weight_forms", "if_captures", "local_function"])
def test_flipped_bits(work, quantize, name):
    whole = (SAMPLE / f"{name}.onnx").read_bytes()
    work.calib.write_bytes((SAMPLE / f"{name}.npz").read_bytes())
    rng = numpy.random.default_rng(7)
    for at in rng.integers(0, len(whole), 60):
        broken = bytearray(whole)
        broken[at] ^= 1 << rng.integers(0, 8)
        work.model.write_bytes(broken)
        harmless_or_refused(quantize, work)


# ---- broken graphs ------------------------------------------------------------------------------------------------------------


BROKEN = {
    "cycle": (matmul(W, nodes=[node("MatMul", ["b", "w"], ["a"], "m"), node("Relu", ["a"], ["b"], "r"), node("Relu", ["a"], ["y"], "s")]),
              "cycle"),
    "reads itself": (matmul(W, nodes=[node("Add", ["y", "x"], ["y"], "m")]), "cycle"),
    "undefined tensor": (matmul(W, nodes=[node("MatMul", ["nowhere", "w"], ["y"], "m")]), "nowhere"),
    "undefined in a body": (matmul(W, nodes=[node("MatMul", ["x", "w"], ["a"], "m"), node("Relu", ["a", "ghost"], ["y"], "r")]), "ghost"),
    "undefined output": (matmul(W, outputs=[value("z")]), "z"),
    "made twice": (matmul(W, nodes=[node("MatMul", ["x", "w"], ["y"], "m"), node("Relu", ["x"], ["y"], "r")]), "y"),
    "made in one node twice": (matmul(W, nodes=[node("Split", ["x"], ["y", "y"], "m")]), "y"),
    "a node makes an input": (matmul(W, nodes=[node("MatMul", ["x", "w"], ["y"], "m"), node("Relu", ["y"], ["x"], "r")]), "x"),
    "a node makes an initializer": (matmul(W, nodes=[node("MatMul", ["x", "w"], ["y"], "m"), node("Relu", ["x"], ["w"], "r")]), "w"),
    "two initializers of a name": (matmul(W, W), "w"),
    "two inputs of a name": (matmul(W, inputs=X + X), "x"),
    "initializer without a name": (matmul(tensor("", weight(6, 5))), "name"),
    "input without a name": (matmul(W, inputs=[value("", ["N", 6])]), "name"),
    "raw data too short": (matmul(tensor("w", weight(6, 5), raw=b"\0" * 119)), "w"),
    "raw data too long": (matmul(tensor("w", weight(6, 5), raw=b"\0" * 121)), "w"),
    "no data": (matmul(tensor("w", dims=[6, 5])), "w"),
    "negative dimension": (matmul(tensor("w", weight(6, 5), dims=[6, -5])), "w"),
    "dimensions that overflow": (matmul(tensor("w", weight(6, 5), dims=[1 << 40, 1 << 40])), "w"),
    "huge dimensions": (matmul(tensor("w", dims=[1 << 30, 1 << 29])), "w"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_graph(work, refused, name):
    content, text = BROKEN[name]
    work.model.write_bytes(content)
    refused("not-an-onnx", work.model, text)


def test_graphs_nested_without_end(work, refused):
    inner = field(1, [node("Relu", ["a"], ["z"])]) + field(12, [value("z")])
    for _ in range(200):
        attribute = field(1, "body") + field(6, inner) + field(20, 5)
        inner = field(1, field(1, "a") + field(2, "z") + field(4, "Loop") + field(5, attribute)) + field(12, [value("z")])
    attribute = field(1, "body") + field(6, inner) + field(20, 5)
    loop = field(1, "x") + field(2, "a") + field(4, "Loop") + field(5, attribute)
    work.model.write_bytes(matmul(W, nodes=[loop, node("MatMul", ["a", "w"], ["y"], "m")]))
    message = refused("unsupported-graph", work.model)
    assert "nested" in message


# ---- sound, and not for us -----------------------------------------------------------------------------------------------------


NOT_FOR_US = {
    "no layer": (model(RELU, X, Y), "no searchable layer"),
    "no nodes": (model([], X, [value("x")]), "no nodes"),
    "computed weight": (matmul(W, nodes=[node("Relu", ["w"], ["v"], "r"), node("MatMul", ["x", "v"], ["y"], "layer")]), "layer"),
    "two inputs multiplied": (matmul(inputs=X + [value("w", [6, 5])]), "layer"),
    "float64": (matmul(tensor("w", weight(6, 5).astype(numpy.float64)), inputs=[value("x", ["N", 6], DOUBLE)],
                       outputs=[value("y", None, DOUBLE)]), "double"),
    "bfloat16": (matmul(tensor("w", numpy.zeros((6, 5), numpy.int16), elem=16)), "bfloat16"),
    "quantized already": (matmul(W, tensor("s", numpy.float32(0.1)), nodes=[node("QuantizeLinear", ["x", "s"], ["q"], "quantizer"),
                                 node("DequantizeLinear", ["q", "s"], ["d"]), node("MatMul", ["d", "w"], ["y"], "layer")]), "quantizer"),
    "empty weight": (matmul(tensor("w", numpy.zeros((6, 0), numpy.float32))), "empty"),
    "weight of one dimension": (matmul(tensor("w", weight(6))), "dimension"),
    "Conv without a spatial dimension": (matmul(W, nodes=[node("Conv", ["x", "w"], ["y"], "layer")]), "dimension"),
}


@pytest.mark.parametrize("name", NOT_FOR_US)
def test_not_for_us(work, refused, name):
    content, text = NOT_FOR_US[name]
    work.model.write_bytes(content)
    refused("unsupported-graph", text, work.model)


@pytest.mark.parametrize("seed", range(2))
def test_weight_that_is_not_finite(work, refused, seed):
    w = weight(6, 5)
    w[2, 3] = [numpy.nan, numpy.inf][seed]
    work.model.write_bytes(two_layers(w1=tensor("w1", w)))
    refused("non-finite-activation", "w1")


def test_weight_that_does_not_fit_its_input(work, refused):
    work.model.write_bytes(two_layers(w1=tensor("w1", weight(7, 5))))
    refused("unsupported-graph", "first")


def test_operator_that_nobody_knows(work, refused):
    nodes = [node("MatMul", ["x", "w1"], ["a"], "first"), node("NoSuchThing", ["a"], ["b"], "odd"), node("MatMul", ["b", "w2"], ["y"], "second")]
    work.model.write_bytes(model(nodes, X, Y, [tensor("w1", weight(6, 5)), tensor("w2", weight(5, 4))]))
    refused("ort-error", "NoSuchThing")


def test_operator_set_of_the_future(work, refused):
    nodes = [node("MatMul", ["x", "w1"], ["a"], "first"), node("MatMul", ["a", "w2"], ["y"], "second")]
    work.model.write_bytes(model(nodes, X, Y, [tensor("w1", weight(6, 5)), tensor("w2", weight(5, 4))], opset=999))
    refused("ort-error", "999")


def test_graph_that_fails_when_it_runs(work, refused):
    nodes = [node("MatMul", ["x", "w1"], ["a"], "first"), node("Reshape", ["a", "s"], ["b"], "bad"), node("MatMul", ["b", "w2"], ["y"], "second")]
    shape = tensor("s", numpy.array([3, 7]))
    work.model.write_bytes(model(nodes, X, Y, [tensor("w1", weight(6, 5)), tensor("w2", weight(5, 4)), shape]))
    refused("ort-error", "bad")


def test_input_that_no_array_can_feed(work, refused):
    text = value("s", ["N"], 8)
    work.model.write_bytes(model([node("MatMul", ["x", "w"], ["y"], "layer")], [*X, text], Y, [W]))
    numpy.savez(work.calib, x=work.x, s=numpy.zeros(8, numpy.float32))
    refused("unsupported-graph", "input s", "string")


# ---- external data ---------------------------------------------------------------------------------------------------------------


def outside(work, content=None, **entries):
    """Puts w1 outside of the model."""
    work.model.write_bytes(two_layers(w1=tensor("w1", dims=[6, 5], data=external(**entries))))
    if content is not None:
        (work.dir / "w.bin").write_bytes(content)


DATA = weight(6, 5).tobytes()


def test_external_data_is_read(work, quantize):
    outside(work, b"ab" + DATA, location="w.bin", offset=2, length=len(DATA))
    plain = work.dir / "plain"
    assert quantize().returncode == 0
    found = (work.out / "model.encodings").read_bytes()
    work.model.write_bytes(two_layers())
    work.out = plain
    assert quantize().returncode == 0
    assert found == (plain / "model.encodings").read_bytes()


def test_external_data_missing(work, refused):
    outside(work, location="w.bin")
    refused("not-found", work.model, "w.bin")


@pytest.mark.parametrize("content,entries", [
    (DATA[:-1], {}), (b"", {}), (DATA, {"offset": 1}), (DATA, {"offset": -1}), (DATA, {"offset": "x"}), (DATA, {"offset": 1 << 62}),
    (DATA, {"length": 1}), (DATA, {"length": 121}), (DATA, {"length": -120}), (DATA, {"offset": "9" * 30}), (DATA, {"length": ""})])
def test_external_data_that_does_not_fit(work, refused, content, entries):
    outside(work, content, location="w.bin", **entries)
    refused("not-an-onnx", work.model, "w1", "w.bin")


@pytest.mark.parametrize("place", ["../w.bin", "/etc/passwd", "a/../../w.bin", "./../w.bin", "..", ".", "/", "a//b"])
def test_external_data_elsewhere(work, refused, place):
    outside(work, DATA, location=place)
    refused("unsupported-graph", work.model, place)


def test_external_data_behind_a_link(work, quantize):
    """A link is the owner's own doing; it may be followed or refused, but not crash."""
    (work.dir / "real.bin").write_bytes(DATA)
    (work.dir / "link.bin").symlink_to("real.bin")
    outside(work, location="link.bin")
    assert quantize().returncode in (0, 1)


def test_external_data_is_a_folder(work, refused):
    (work.dir / "w.bin").mkdir()
    outside(work, location="w.bin")
    refused("io", work.model, "w.bin")


def test_external_data_without_a_location(work, refused):
    outside(work, offset=0)
    refused("not-an-onnx", work.model, "w1")


def test_external_data_of_a_type_without_size(work, refused):
    work.model.write_bytes(model([node("MatMul", ["x", "w"], ["y"], "m")], X, Y,
                                 [W, tensor("s", dims=[2], elem=8, data=external(location="w.bin"))]))
    (work.dir / "w.bin").write_bytes(DATA)
    refused("not-an-onnx", work.model, "s")
