"""Calibration data that is damaged, or does not fit: one line that names the file or the array, and nothing left behind."""
import io
import zipfile

import numpy
import pytest

from conftest import TOP
from onnx_bytes import DOUBLE, FLOAT16, INT64, model, node, tensor, value, weight

ZOO = TOP / "tests/data/zoo"


def save(work, **arrays):
    numpy.savez(work.calib, **arrays)


# ---- damaged ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"text\n", b"\0" * 100, b"PK\3\4", b"PK\5\6" + b"\0" * 18, b"\x93NUMPY", b"\x93NUMPY\1\0\xff\xff{}",
                                     b"\x93NUMPY\1\0\x02\0{}", b"\x93NUMPY\7\0\x02\0{}", bytes(range(256)) * 8])
def test_not_an_array_file(work, refused, content):
    work.calib.write_bytes(content)
    refused("calibration-mismatch", work.calib)


def test_model_in_place_of_the_data(work, refused):
    work.calib.write_bytes(work.model.read_bytes())
    refused("calibration-mismatch", work.calib)


def test_missing_data(work, refused):
    work.calib.unlink()
    refused("not-found", work.calib)


def test_folder_in_place_of_the_data(work, quantize):
    work.calib.unlink()
    work.calib.mkdir()
    done = quantize()
    assert done.returncode == 1 and str(work.calib) in done.stderr and not work.out.exists()


def harmless_or_refused(quantize, work):
    done = quantize("--quiet")
    if done.returncode == 0:
        for file in work.out.iterdir():
            file.unlink()
        work.out.rmdir()
        return
    assert done.returncode == 1 and done.stderr.startswith("seqmsed: ") and len(done.stderr.splitlines()) == 1, done.stderr
    assert "(internal)" not in done.stderr, done.stderr
    assert str(work.calib) in done.stderr or "(non-finite-activation)" in done.stderr, done.stderr
    assert not work.out.exists()


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated(work, quantize, compressed):
    (numpy.savez_compressed if compressed else numpy.savez)(work.calib, x=work.x)
    whole = work.calib.read_bytes()
    for at in [*range(0, 40), *range(40, len(whole), 7)]:
        work.calib.write_bytes(whole[:at])
        harmless_or_refused(quantize, work)


@pytest.mark.parametrize("compressed", [False, True])
def test_flipped_bits(work, quantize, compressed):
    (numpy.savez_compressed if compressed else numpy.savez)(work.calib, x=work.x)
    whole = work.calib.read_bytes()
    rng = numpy.random.default_rng(5)
    for at in rng.integers(0, len(whole), 80):
        broken = bytearray(whole)
        broken[at] ^= 1 << rng.integers(0, 8)
        work.calib.write_bytes(broken)
        harmless_or_refused(quantize, work)


def test_a_header_that_promises_too_much(work, refused):
    array = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 6)})
    with zipfile.ZipFile(work.calib, "w") as z:
        z.writestr("x.npy", array.getvalue() + b"\0" * 48)
    refused("calibration-mismatch", work.calib, '"x"')


def test_objects_are_not_loaded(work, refused):
    numpy.savez(work.calib, x=numpy.array([{"a": 1}, None], dtype=object))
    refused("calibration-mismatch", work.calib, '"x"')


# ---- does not fit -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    lambda x: x[:, :5], lambda x: x[:, :, None], lambda x: x[0], lambda x: x.reshape(8, 2, 3), lambda x: numpy.float32(1),
    lambda x: x.astype(complex), lambda x: x > 0, lambda x: x.astype("S4"), lambda x: x[:, :0], lambda x: x.T])
def test_shape_or_type_does_not_fit(work, refused, change):
    save(work, x=change(work.x))
    refused("calibration-mismatch", work.calib, '"x"')


def test_array_missing(work, refused):
    save(work, z=work.x, y=work.x)
    refused("calibration-mismatch", work.calib, '"x"', '"z"', '"y"')


def test_no_arrays(work, refused):
    save(work)
    refused("calibration-mismatch", work.calib, '"x"')


def test_no_samples(work, refused):
    save(work, x=work.x[:0])
    refused("calibration-mismatch", work.calib, "no samples")


@pytest.mark.parametrize("name", ["two_inputs", "embedding"])
def test_unequal_numbers_of_samples(work, refused, name):
    work.model.write_bytes((ZOO / f"{name}.onnx").read_bytes())
    arrays = dict(numpy.load(ZOO / f"{name}.npz"))
    short = sorted(arrays)[-1]
    arrays[short] = arrays[short][:-1]
    save(work, **arrays)
    refused("calibration-mismatch", work.calib, *(f'"{k}"' for k in arrays))


def test_several_faults_are_told_at_once(work, refused):
    work.model.write_bytes((ZOO / "two_inputs.onnx").read_bytes())
    save(work, left=numpy.zeros((8, 4), numpy.float32), middle=numpy.zeros(8))
    refused("calibration-mismatch", work.calib, '"left"', '"right"', '"middle"')


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf, -numpy.inf])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_not_finite(work, refused, bad, kind):
    x = work.x.astype(kind)
    x[5, 3] = bad
    save(work, x=x)
    refused("non-finite-activation", '"x"', "sample 5", "[3]")


def test_too_large_for_float(work, refused):
    x = work.x.astype(float)
    x[2, 1] = 1e200
    save(work, x=x)
    refused("non-finite-activation", '"x"', "sample 2", "[1]")


def test_integers_that_do_not_fit(work, refused):
    work.model.write_bytes((ZOO / "embedding.onnx").read_bytes())
    arrays = dict(numpy.load(ZOO / "embedding.npz"))
    save(work, **{**arrays, "ids": arrays["ids"].astype(float)})
    refused("calibration-mismatch", work.calib, '"ids"')
    ids = arrays["ids"].astype(numpy.uint64)
    ids[3, 2] = 1 << 63
    save(work, **{**arrays, "ids": ids})
    refused("calibration-mismatch", '"ids"', "sample 3", "9223372036854775808")


def test_an_index_out_of_range(work, refused):
    work.model.write_bytes((ZOO / "embedding.onnx").read_bytes())
    arrays = dict(numpy.load(ZOO / "embedding.npz"))
    arrays["ids"][0, 0] = 99
    save(work, **arrays)
    refused("ort-error", work.model)


def test_infinity_that_the_model_makes(work, refused):
    nodes = [node("MatMul", ["x", "w1"], ["a"], "first"), node("Log", ["a"], ["b"], "log"), node("MatMul", ["b", "w2"], ["y"], "second")]
    work.model.write_bytes(model(nodes, [value("x", ["N", 6])], [value("y")], [tensor("w1", weight(6, 5)), tensor("w2", weight(5, 4))]))
    refused("non-finite-activation", "second")


def test_too_few_samples_for_a_fixed_batch(work, refused):
    work.model.write_bytes((ZOO / "fixed_batch_4.onnx").read_bytes())
    save(work, x=work.x[:3])
    refused("calibration-mismatch", work.calib, "4", "3")
    save(work, x=work.x)
    refused("bad-param", "batch", "4", flags=("--batch-size", 5))


def test_samples_beyond_a_fixed_batch_are_mentioned(work, quantize):
    work.model.write_bytes((ZOO / "fixed_batch_4.onnx").read_bytes())
    save(work, x=work.x[:7])
    done = quantize()
    assert done.returncode == 0 and "warning" in done.stderr and "samples-unused" in done.stderr


def test_other_number_types_that_fit(work, quantize):
    """A float64 copy, integers for a float input, big-endian numbers: the same encodings."""
    whole = numpy.round(work.x * 4).astype(numpy.float32)
    found = set()
    for x in (whole, whole.astype("f8"), whole.astype("i4"), whole.astype("i1"), whole.astype("f2"), numpy.asfortranarray(whole)):
        save(work, x=x)
        assert quantize("--quiet").returncode == 0
        found.add((work.out / "model.encodings").read_bytes())
    assert len(found) == 1


def test_single_precision_data_for_a_half_precision_model(work, quantize):
    """Zeros, denormals and all: what float16 holds exactly, arrives exactly."""
    work.model.write_bytes((ZOO / "half_precision.onnx").read_bytes())
    x = numpy.load(ZOO / "half_precision.npz")["x"]
    x[:, :, 0] = 0
    x[:, :, 1] = -6e-8
    assert (x == 0).sum() > 20
    found = set()
    for kind in ("f2", "f4", "f8"):
        save(work, x=x.astype(kind))
        assert quantize("--quiet").returncode == 0
        found.add((work.out / "model.encodings").read_bytes())
    assert len(found) == 1


def test_big_endian_numbers(work, quantize):
    """Read, or refused by name; never misread."""
    assert quantize("--quiet").returncode == 0
    right = (work.out / "model.encodings").read_bytes()
    save(work, x=work.x.astype(">f4"))
    done = quantize("--quiet")
    assert (done.returncode == 0 and (work.out / "model.encodings").read_bytes() == right) or ('"x"' in done.stderr)


@pytest.mark.parametrize("elem", [FLOAT16, DOUBLE, INT64])
def test_an_unused_input_still_needs_data(work, refused, elem):
    work.model.write_bytes(model([node("MatMul", ["x", "w"], ["y"], "layer")], [value("x", ["N", 6]), value("extra", ["N"], elem)], [value("y")],
                                 [tensor("w", weight(6, 5))]))
    refused("calibration-mismatch", '"extra"')
