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
OUTPUTS = ["model.encodings", "model.onnx", "model_qdq.onnx", "model_qdq_prequantized.onnx", "report.html", "report.json"]


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

def test_writes_its_files_and_nothing_else(tmp_path):
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


@pytest.mark.parametrize("symmetry", ("symqt", "symfp", "asym"))
@pytest.mark.parametrize("loss", ("mse", "l1", "sqnr"))
def test_no_loss_is_larger_than_the_full_ranges(tmp_path, loss, symmetry):
    r = done(quantize(tmp_path, "--loss-fn", loss, "--inp-symmetry", symmetry))
    assert f"output error ({loss})" in r.stdout
    assert (report(tmp_path)["params"]["loss_fn"], report(tmp_path)["params"]["inp_symmetry"]) == (loss, symmetry)
    for layer in report(tmp_path)["layers"]:
        assert layer["loss_fn"] == loss
        assert layer["strategy"] == "direct" if loss == "l1" else layer["strategy"] in ("gram", "direct")
        assert all(a <= b for a, b in zip(layer["loss"], layer["minmax_loss"]))


@pytest.mark.parametrize("flags", (("--loss-fn", "l1"), ("--inp-symmetry", "asym", "--loss-fn", "sqnr")))
def test_compare_judges_by_the_loss_of_the_search(tmp_path, flags):
    done(quantize(tmp_path / "mse"))
    done(quantize(tmp_path / "other", *flags))
    files = [tmp_path / d / "model.encodings" for d in ("mse", "other")]
    r = run("compare", *files, "--model", MODEL, "--calib", CALIB, *flags)
    judged = [line for line in r.stdout.splitlines() if "own choice" in line]
    assert len(judged) == 2 and "0 neither" in judged[1] and "0 neither" not in judged[0]


def test_inputs_says_how_arrays_feed_the_model(tmp_path, images):
    """Bytes, channels last, under another name: the same numbers, the same scales."""
    steps = numpy.round(images * 255).astype(numpy.uint8)
    done(quantize(tmp_path / "as_is", calib=save(tmp_path / "a.npz", image=(steps.astype(float) / 256 - 0.25).astype(numpy.float32))))
    mapped = {"image": {"array": "photo", "transpose": [0, 3, 1, 2], "scale": 1 / 256, "offset": [-0.25]}}
    other = save(tmp_path / "b.npz", photo=steps.transpose(0, 2, 3, 1), unused=numpy.zeros(3))
    done(quantize(tmp_path / "mapped", "--inputs", json.dumps(mapped), calib=other))
    assert (tmp_path / "mapped/model.encodings").read_bytes() == (tmp_path / "as_is/model.encodings").read_bytes()
    line = fails(quantize(tmp_path / "no", "--inputs", json.dumps({"picture": {}}), calib=other), "bad-param")
    assert "/inputs/picture" in line and '"image"' in line


def checkpoints(groups, on_cpu="False", **other):
    return json.dumps({"grouped_modules": groups, "include_static_inputs": ["True"] * len(groups), "cache_on_cpu": on_cpu, **other})


def test_checkpoints_go_to_a_file_or_stay_in_memory(tmp_path):
    """Either way the encodings are the same."""
    groups = {"0": ["/0/*"], "1": ["/6/Conv", "/9/Conv"], "2": ["/1?/Gemm"]}
    done(quantize(tmp_path / "plain"))
    for on_cpu in ("True", "False", True, False):
        out = tmp_path / str(on_cpu)
        done(quantize(out, "--checkpoints-config", checkpoints(groups, on_cpu)))
        assert (report(out)["spilled_bytes"] > 0) == (on_cpu in ("False", False))
        assert (out / "model.encodings").read_bytes() == (tmp_path / "plain/model.encodings").read_bytes()


@pytest.mark.parametrize("config, says", (
    ("[]", "expected an object"),
    ("{}", '"grouped_modules" is missing'),
    ('{"grouped_modules": {"0": ["a"]}, "include_static_inputs": ["True"]}', '"cache_on_cpu" is missing'),
    (checkpoints({"1": ["a"]}), "/grouped_modules/0"),
    (checkpoints({"0": []}), "/grouped_modules/0"),
    (checkpoints({"0": ["a"]}, include_static_inputs=[]), "/include_static_inputs"),
    (checkpoints({"0": ["a"]}, include_static_inputs=["yes"]), "/include_static_inputs/0"),
    (checkpoints({"0": ["a"]}, "maybe"), "/cache_on_cpu"),
    (checkpoints({"0": ["/0/Conv"], "1": ["/6/conv"]}), '/grouped_modules/1/0: no node matches "/6/conv"; the nearest is "/6/Conv"'),
    (checkpoints({"0": ["/6/Conv"], "1": ["/0/Conv"]}), "/grouped_modules/1: it begins with /0/Conv, before group 0"),
))
def test_checkpoints_that_make_no_sense_are_refused(tmp_path, config, says):
    r = quantize(tmp_path / "o", "--checkpoints-config", config)
    assert r.returncode in (1, 2) and says in r.stderr, r.stderr


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


def test_the_float_model_is_the_one_that_was_given(tmp_path):
    done(quantize(tmp_path))
    a, b = (json.loads(done(run("inspect", m, "--json")).stdout) for m in (MODEL, tmp_path / "model.onnx"))
    assert a == b


def test_the_qdq_models_run_and_agree_with_the_simulation(tmp_path):
    done(quantize(tmp_path))
    for row in json.loads((tmp_path / "report.json").read_text())["qdq"]:
        assert row["sqnr_db"] is None or row["sqnr_db"] > 30, row
    refused = run("quantize", tmp_path / "model_qdq.onnx", CALIB, "-o", tmp_path / "again")
    assert refused.returncode == 1 and "quantized already" in refused.stderr


def test_evaluation_makes_a_table(tmp_path):
    shown = done(quantize(tmp_path, "--eval", DIGITS / "eval.npz")).stdout
    rows = json.loads((tmp_path / "report.json").read_text())["accuracy"]
    assert [(r["weights"], r["activations"]) for r in rows] == [("fp32", False), ("minmax", False), ("minmax", True), ("searched", False), ("searched", True)]
    assert rows[0]["accuracy"] > 0.95 and rows[4]["outputs"][0]["sqnr_db"] > rows[2]["outputs"][0]["sqnr_db"]
    assert "fp32" in shown and "with activations" in shown
    done(quantize(tmp_path / "other", "--eval", DIGITS / "eval.npz", "--evaluate", '{"metric": "sqnr"}'))
    assert json.loads((tmp_path / "other/report.json").read_text())["accuracy"][0]["accuracy"] is None


@pytest.mark.parametrize("flags", [("--config", "htp_v99"), ("--config", '{"defaults": {}}'), ("--output-bw", "1"), ("--output-bw", "float8"),
                                   ("--quant-scheme", "mse"), ("--percentile", "101"), ("--evaluate", '{"what": 1}'), ("--degenerate-ranges", "x")])
def test_settings_of_the_simulation_are_checked_at_once(tmp_path, flags):
    r = quantize(tmp_path / "out", *flags)
    assert r.returncode == 2 and flags[0] in r.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [("--config", "htp_v81"), ("--config", "per-tensor"), ("--output-bw", "float16"), ("--output-bw", "16"),
                                   ("--quant-scheme", "tf_enhanced", "--param-quant-scheme", "tf_enhanced"),
                                   ("--quant-scheme", "percentile", "--percentile", "99.9"), ("--fold-batch-norm",)])
def test_settings_of_the_simulation_work(tmp_path, flags):
    done(quantize(tmp_path, *flags))
    assert json.loads((tmp_path / "model.encodings").read_text())["activation_encodings"]


def test_quantizing_twice_finds_the_same_bytes(tmp_path):
    for name in "ab":
        done(quantize(tmp_path / name))
    for name in ("model.encodings", "model_qdq.onnx"):
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


def test_compare_knows_every_version(tmp_path):
    for version in ("0.6.1", "1.0.0", "2.0.0", "2.1.0"):
        done(quantize(tmp_path / version, "--encoding-version", version))
    files = {version: tmp_path / version / "model.encodings" for version in ("0.6.1", "1.0.0", "2.0.0", "2.1.0")}
    assert run("compare", files["0.6.1"], files["1.0.0"]).returncode == 0
    other = run("compare", files["1.0.0"], files["2.0.0"])  # which has the biases, and tensors whose numbers are only moved
    assert "only in" in other.stdout and "0 of " in other.stdout, other.stdout
    assert run("compare", files["2.1.0"], files["2.1.0"]).returncode == 0


def test_version_and_help():
    assert done(run("version")).stdout.startswith("seqmsed ")
    for argv in (["help"], ["--help"], ["quantize", "--help"], ["inspect", "--help"], ["compare", "--help"]):
        assert "seqmsed" in done(run(*argv)).stdout


# ---- how it ends ----

@pytest.mark.parametrize("argv", [
    [], ["quantise"], ["quantize"], ["quantize", MODEL], ["quantize", MODEL, CALIB], ["inspect"], ["compare", MODEL],
    ["quantize", MODEL, CALIB, CALIB, "-o", "x"], ["quantize", MODEL, CALIB, "-o"], ["inspect", MODEL, "--jsno"],
    ["quantize", MODEL, CALIB, "-o", "x", "--reuse", "true"],
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
