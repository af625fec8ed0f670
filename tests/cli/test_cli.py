"""The command line as a user meets it: what it writes, what it says, how it ends."""
import json
import os
import pathlib
import subprocess

import numpy
import pytest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SEQMSED = os.environ.get("SEQMSED", str(TOP / "build/seqmsed"))
DIGITS = TOP / "tests/data/digits"
MODEL, CALIB = DIGITS / "model.onnx", DIGITS / "calib.npz"
LAYERS = ["/0/Conv", "/3/Conv", "/6/Conv", "/9/Conv", "/13/Gemm", "/15/Gemm"]
OUTPUTS = ["model.encodings", "model_weights_quantized.onnx", "report.json"]


def run(*argv):
    return subprocess.run([SEQMSED, *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def quantize(out, *flags, model=MODEL, calib=CALIB):
    return run("quantize", model, calib, "-o", out, *flags)


def done(result):
    assert result.returncode == 0, result.stderr
    return result


def fails(result, code):
    """It failed, and said so in one line that ends in the code."""
    assert result.returncode == 1, (result.returncode, result.stdout, result.stderr)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("seqmsed: ") and lines[0].endswith(f"({code})"), result.stderr
    return lines[0]


def report(out):
    return json.loads((out / "report.json").read_text())


def scales(out):
    return {p["name"]: p["scale"] for p in json.loads((out / "model.encodings").read_text())["param_encodings"]}


def save(path, **arrays):
    numpy.savez(path, **arrays)
    return path


@pytest.fixture(name="images")
def fixture_images():
    return numpy.load(CALIB)["image"]


# ---- what it writes ----

def test_writes_three_files_and_nothing_else(tmp_path):
    done(quantize(tmp_path / "a/b"))
    assert sorted(p.name for p in (tmp_path / "a/b").iterdir()) == OUTPUTS


def test_report_tells_layers_in_graph_order(tmp_path):
    done(quantize(tmp_path))
    r = report(tmp_path)
    assert [layer["node"] for layer in r["layers"]] == LAYERS
    assert (r["samples"], r["samples_used"], r["batches"]) == (256, 256, 8)
    for layer in r["layers"]:
        for key in ("chosen", "loss", "minmax_loss"):
            assert len(layer[key]) == layer["channels"]
        assert all(0 <= c < 20 for c in layer["chosen"])


def test_the_search_never_does_worse_than_the_full_range(tmp_path):
    done(quantize(tmp_path))
    for layer in report(tmp_path)["layers"]:
        assert all(a <= b for a, b in zip(layer["loss"], layer["minmax_loss"]))
        assert sum(layer["loss"]) < 0.9 * sum(layer["minmax_loss"])


def test_one_candidate_is_the_full_range(tmp_path):
    done(quantize(tmp_path, "--num-candidates", 1))
    for layer in report(tmp_path)["layers"]:
        assert set(layer["chosen"]) == {0} and layer["loss"] == layer["minmax_loss"]


def test_more_bits_lose_less(tmp_path):
    losses = []
    for bits in (2, 4, 8):
        done(quantize(tmp_path / str(bits), "--param-bw", bits))
        losses.append(sum(report(tmp_path / str(bits))["layers"][0]["loss"]))
    assert losses[0] > 4 * losses[1] > 16 * losses[2]


def test_the_last_partial_batch_is_used(tmp_path):
    done(quantize(tmp_path, "--batch-size", 100))
    r = report(tmp_path)
    assert (r["samples_used"], r["batches"]) == (256, 3)


def test_num_batches_limits_the_samples(tmp_path, images):
    done(quantize(tmp_path / "limited", "--num-batches", 2))
    assert report(tmp_path / "limited")["samples_used"] == 64
    done(quantize(tmp_path / "cut", calib=save(tmp_path / "c.npz", image=images[:64])))
    assert scales(tmp_path / "limited") == scales(tmp_path / "cut")


def test_include_and_exclude_choose_layers(tmp_path):
    done(quantize(tmp_path / "i", "--include", "*Gemm"))
    assert [layer["node"] for layer in report(tmp_path / "i")["layers"]] == LAYERS[4:]
    done(quantize(tmp_path / "e", "--exclude", "/0/*", "--exclude", "/15/*"))
    assert [layer["node"] for layer in report(tmp_path / "e")["layers"]] == LAYERS[1:5]


def test_both_spellings_of_options(tmp_path):
    done(quantize(tmp_path / "a", "--param-bw", 3))
    done(quantize(tmp_path / "b", "--weight-bits=3"))
    assert (tmp_path / "a/model.encodings").read_bytes() == (tmp_path / "b/model.encodings").read_bytes()


def test_arrays_that_are_no_inputs_do_not_matter(tmp_path):
    done(quantize(tmp_path, calib=DIGITS / "eval.npz"))  # has a "label"
    assert report(tmp_path)["samples"] == 597


def test_a_bare_npy_feeds_a_model_with_one_input(tmp_path, images):
    numpy.save(tmp_path / "c.npy", images)
    done(quantize(tmp_path / "npy", calib=tmp_path / "c.npy"))
    done(quantize(tmp_path / "npz"))
    assert scales(tmp_path / "npy") == scales(tmp_path / "npz")


def test_number_types_that_lose_nothing_change_nothing(tmp_path, images):
    done(quantize(tmp_path / "f4"))
    for kind in ("f2", "f8"):  # the images are sixteenths
        done(quantize(tmp_path / kind, calib=save(tmp_path / "c.npz", image=images.astype(kind))))
        assert scales(tmp_path / kind) == scales(tmp_path / "f4")


def test_the_quantized_model_has_the_same_layers(tmp_path):
    done(quantize(tmp_path))
    a, b = (json.loads(done(run("inspect", m, "--json")).stdout) for m in (MODEL, tmp_path / "model_weights_quantized.onnx"))
    assert a == b
    assert (tmp_path / "model_weights_quantized.onnx").read_bytes() != MODEL.read_bytes()


def test_quantizing_twice_finds_the_same_bytes(tmp_path):
    for name in "ab":
        done(quantize(tmp_path / name))
    for name in ("model.encodings", "model_weights_quantized.onnx"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# ---- what it says ----

def test_quiet_says_nothing(tmp_path):
    result = done(quantize(tmp_path, "--quiet"))
    assert result.stdout == "" and result.stderr == ""


def test_summary_names_the_product(tmp_path):
    assert str(tmp_path / "model.encodings") in done(quantize(tmp_path)).stdout


def test_json_says_one_event_a_line(tmp_path):
    events = [json.loads(line) for line in done(quantize(tmp_path, "--json")).stdout.splitlines()]
    assert [e["node"] for e in events if e["event"] == "layer"] == LAYERS
    assert events[-1]["event"] == "done"


def test_json_says_errors_too(tmp_path):
    result = quantize(tmp_path / "o", "--json", model=tmp_path / "none.onnx")
    assert result.returncode == 1
    event = json.loads(result.stdout.splitlines()[-1])
    assert (event["event"], event["code"]) == ("error", "not-found")


def test_inspect_lists_layers():
    text = done(run("inspect", MODEL)).stdout
    assert all(name in text for name in LAYERS) and "6 of 6" in text


def test_inspect_json_has_shapes():
    model = json.loads(done(run("inspect", MODEL, "--json")).stdout)
    assert model["searchable"] == 6
    assert [layer["weight_shape"] for layer in model["layers"]][:2] == [[12, 1, 3, 3], [12, 1, 3, 3]]
    assert model["inputs"][0]["name"] == "image"


def test_compare_tells_equal_from_different(tmp_path):
    done(quantize(tmp_path / "a"))
    done(quantize(tmp_path / "b", "--encoding-version", "0.6.1"))
    done(quantize(tmp_path / "c", "--num-candidates", 19))
    assert run("compare", tmp_path / "a/model.encodings", tmp_path / "b/model.encodings").returncode == 0
    assert run("compare", tmp_path / "a/model.encodings", tmp_path / "c/model.encodings").returncode == 1


def test_version_and_help():
    assert done(run("version")).stdout.startswith("seqmsed ")
    for argv in (["help"], ["--help"], ["quantize", "--help"], ["inspect", "--help"], ["compare", "--help"]):
        assert "seqmsed" in done(run(*argv)).stdout


# ---- how it ends ----

@pytest.mark.parametrize("argv", [
    [], ["quantise"], ["quantize"], ["quantize", MODEL], ["quantize", MODEL, CALIB], ["inspect"], ["compare", MODEL],
    ["quantize", MODEL, CALIB, CALIB, "-o", "x"], ["quantize", MODEL, CALIB, "-o"], ["inspect", MODEL, "--jsno"],
    ["quantize", MODEL, CALIB, "-o", "x", "--output-bw", "8"],
    ["quantize", MODEL, CALIB, "-o", "x", "--param-bw", "four"], ["quantize", MODEL, CALIB, "-o", "x", "--param-bw", "1"],
    ["quantize", MODEL, CALIB, "-o", "x", "--param-bw", "4.5"], ["quantize", MODEL, CALIB, "-o", "x", "--num-candidates", "0"],
    ["quantize", MODEL, CALIB, "-o", "x", "--encoding-version", "3.0.0"],
    ["quantize", MODEL, CALIB, "-o", "x", "--max-memory", "12Q"],
], ids=lambda argv: " ".join(pathlib.Path(str(a)).name for a in argv) or "nothing")
def test_a_wrong_command_line_ends_with_2(argv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*argv).returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_missing_file(tmp_path):
    assert "none.onnx" in fails(quantize(tmp_path / "o", model=tmp_path / "none.onnx"), "not-found")
    assert "none.npz" in fails(quantize(tmp_path / "o", calib=tmp_path / "none.npz"), "not-found")


@pytest.mark.parametrize("keep", [0, 1, 100, 50_000])
def test_a_damaged_model(keep, tmp_path):
    (tmp_path / "m.onnx").write_bytes(MODEL.read_bytes()[:keep])
    assert "m.onnx" in fails(quantize(tmp_path / "o", model=tmp_path / "m.onnx"), "not-an-onnx")


@pytest.mark.parametrize("keep", [0, 3, 5000])
def test_damaged_data(keep, tmp_path):
    (tmp_path / "c.npz").write_bytes(CALIB.read_bytes()[:keep])
    assert "c.npz" in fails(quantize(tmp_path / "o", calib=tmp_path / "c.npz"), "calibration-mismatch")


@pytest.mark.parametrize("arrays", [
    {"picture": "images", "other": "images"}, {"image": "flat"}, {"image": "wide"}, {"image": "complex"},
], ids=lambda arrays: ",".join(f"{k}={v}" for k, v in arrays.items()))
def test_data_that_does_not_fit_names_the_input(arrays, tmp_path, images):
    made = {"images": images, "flat": images.reshape(256, 64), "wide": numpy.pad(images, ((0, 0), (0, 0), (0, 0), (0, 1))),
            "complex": images.astype(numpy.complex64)}
    calib = save(tmp_path / "c.npz", **{k: made[v] for k, v in arrays.items()})
    assert "image" in fails(quantize(tmp_path / "o", calib=calib), "calibration-mismatch")


def test_data_without_samples(tmp_path, images):
    assert "no samples" in fails(quantize(tmp_path / "o", calib=save(tmp_path / "c.npz", image=images[:0])), "calibration-mismatch")


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_data_that_is_not_finite(value, tmp_path, images):
    images[200, 0, 3, 3] = value
    assert "image" in fails(quantize(tmp_path / "o", calib=save(tmp_path / "c.npz", image=images)), "non-finite-activation")


def test_a_glob_that_fits_nothing(tmp_path):
    fails(quantize(tmp_path / "o", "--exclude", "/0/Konv"), "bad-param")


def test_a_failure_leaves_nothing_behind(tmp_path):
    (tmp_path / "m.onnx").write_bytes(MODEL.read_bytes()[:1000])
    quantize(tmp_path / "o", model=tmp_path / "m.onnx")
    quantize(tmp_path / "o", "--include", "nobody")
    assert not (tmp_path / "o").exists()


def test_a_failure_keeps_earlier_results(tmp_path, images):
    done(quantize(tmp_path / "o"))
    before = {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()}
    images[5] = numpy.nan
    fails(quantize(tmp_path / "o", calib=save(tmp_path / "c.npz", image=images)), "non-finite-activation")
    assert {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()} == before


def test_an_output_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    fails(quantize(tmp_path / "file"), "io")
