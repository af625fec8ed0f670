"""The options that say what has a grid of its own and how its range is searched: what they do, and every way to get them wrong."""
import json
import pathlib

import numpy
import pytest

import onnx_bytes

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
DIGITS = TOP / "tests/data/digits"
ZOO = TOP / "tests/data/zoo"
MODEL, CALIB = DIGITS / "model.onnx", DIGITS / "calib.npz"
CHANNELS = [12, 12, 24, 32, 32, 10]
BLOCKS_OF_4 = [12, 12, 24 * 3, 32 * 6, 32 * 128, 10 * 8]  # the first has one input channel, the second is grouped


@pytest.fixture(name="digits")
def fixture_digits(run, tmp_path):
    """digits(*flags) quantizes the sample and returns what there is to see of it; model and data can be others."""
    def start(*flags, model=MODEL, calib=CALIB, out="out"):
        folder = tmp_path / out
        done = run("quantize", model, calib, "-o", folder, *flags)
        assert done.returncode == 0, done.stderr
        done.layers = json.loads((folder / "report.json").read_text())["layers"]
        done.encodings = json.loads((folder / "model.encodings").read_text())
        done.file = folder / "model.encodings"
        done.scales = {p["name"]: p["scale"] for p in done.encodings["param_encodings"]}
        done.types = [p["enc_type"] for p in done.encodings["param_encodings"]]
        return done
    return start


@pytest.fixture(name="wrong")
def fixture_wrong(run, tmp_path):
    """wrong(status, text, *flags): it ends so, in one line that has the text, and leaves nothing."""
    def start(status, text, *flags, model=MODEL, calib=CALIB):
        done = run("quantize", model, calib, "-o", tmp_path / "out", *flags)
        assert done.returncode == status, done.stderr
        assert text in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        assert not (tmp_path / "out").exists()
    return start


def overrides(*items):
    return "--overrides", json.dumps(items)


def loss(layer):
    return sum(layer["loss"])


# ---- granularity ----

def test_one_grid_a_tensor(digits):
    done = digits("--granularity", "per_tensor")
    assert done.types == ["PER_TENSOR"] * 6
    assert [len(s) for s in done.scales.values()] == [1] * 6
    channels = digits("--granularity", "per_channel")
    assert [len(s) for s in channels.scales.values()] == CHANNELS
    assert all(loss(a) > loss(b) for a, b in zip(done.layers, channels.layers))


def test_one_grid_a_block(digits):
    done = digits("--granularity", "block", "--block-size", 4)
    assert [len(s) for s in done.scales.values()] == BLOCKS_OF_4
    assert done.types == ["PER_CHANNEL"] * 2 + ["PER_BLOCK"] * 4
    assert [p.get("block_size") for p in done.encodings["param_encodings"]] == [None, None, 4, 4, 4, 4]
    assert [layer["granularity"] for layer in done.layers] == ["per_channel"] * 2 + ["block"] * 4
    assert "/3/Conv" in done.stderr and "(no-blocks)" in done.stderr and "/0/Conv" not in done.stderr


def test_a_block_for_all_input_channels_is_nearly_a_channel(digits):
    """Only bias and alpha are left out of its losses, and those make no difference here."""
    blocks = digits(*overrides({"match": {"name": "/15/Gemm"}, "granularity": "block", "block_size": 32}))
    assert blocks.types[-1] == "PER_BLOCK"
    assert blocks.scales == digits().scales


def test_lpbq_stores_integers_times_a_scale(digits):
    done = digits("--granularity", "block", "--block-size", 4, "--lpbq")
    blocks = digits("--granularity", "block", "--block-size", 4)
    assert done.types == ["PER_CHANNEL"] * 2 + ["LPBQ"] * 4
    for a, b in zip(done.encodings["param_encodings"][2:], blocks.encodings["param_encodings"][2:]):
        scales = numpy.array(b["scale"]).reshape(len(a["scale"]), -1)
        assert numpy.allclose(a["scale"], scales.max(1) / 16, rtol=1e-12)
        factors = numpy.array(a["per_block_int_scale"]).reshape(scales.shape)
        assert (factors == numpy.clip(numpy.rint(scales / scales.max(1, keepdims=True) * 16), 1, 16)).all()
    assert [layer["chosen"] for layer in done.layers] == [layer["chosen"] for layer in blocks.layers]


def test_asymmetric_grids(digits):
    done = digits("--symmetric", "false", "--param-bw", 3)
    assert all(p["is_sym"] is False for p in done.encodings["param_encodings"])
    assert len({o for p in done.encodings["param_encodings"] for o in p["offset"]}) > 3
    both = digits("--symmetric", "true", "--param-bw", 3)
    assert sum(map(loss, done.layers)) < sum(map(loss, both.layers))


# ---- overrides ----

def test_overrides_change_some_layers_and_later_ones_win(digits):
    done = digits(*overrides({"match": {"op_type": "Gemm"}, "param_bw": 8, "granularity": "block", "block_size": 8},
                             {"match": {"name": "/15/*"}, "granularity": "per_tensor", "weight_bits": 3},
                             {"match": {"name": "/0/Conv", "op_type": "Conv"}, "num_candidates": 5, "symmetric": False}))
    assert [layer["param_bw"] for layer in done.layers] == [4, 4, 4, 4, 8, 3]
    assert [layer["granularity"] for layer in done.layers] == ["per_channel"] * 4 + ["block", "per_tensor"]
    assert [layer["candidates"] for layer in done.layers] == [5] + [20] * 5
    assert done.encodings["param_encodings"][0]["is_sym"] is False
    plain = digits()
    assert done.scales != plain.scales


def test_an_override_can_turn_the_search_off(digits):
    done = digits(*overrides({"match": {"name": "/9/Conv"}, "search": "off"}))
    off, plain = done.layers[3], digits().layers[3]
    assert off["strategy"] == "none" and set(off["chosen"]) == {19} and off["loss"] == [None] * 32
    assert min(plain["chosen"]) < 19


def test_overrides_can_come_from_a_file(digits, tmp_path):
    (tmp_path / "o.json").write_text('[{"match": {"op_type": "Conv"}, "param_bw": 6}]')
    assert [layer["param_bw"] for layer in digits("--overrides", tmp_path / "o.json").layers] == [6] * 4 + [4] * 2


# ---- which ranges are tried ----

def test_coarse_to_fine_tries_fewer_and_is_never_worse_than_the_full_range(digits):
    fast = digits("--search", "coarse_to_fine", "--num-candidates", 500)
    exact = digits("--num-candidates", 500)
    for a, b in zip(fast.layers, exact.layers):
        assert all(x <= y for x, y in zip(a["loss"], a["minmax_loss"]))
        assert sum(a["loss"]) <= 1.1 * sum(b["loss"])
    assert sum(map(loss, fast.layers)) > 0


def test_search_off_is_the_full_range_of_the_weights(digits):
    done = digits("--search", "off")
    assert all(set(layer["chosen"]) == {19} and layer["strategy"] == "none" for layer in done.layers)
    one = digits("--num-candidates", 1)
    for name, scales in done.scales.items():
        assert numpy.allclose(scales, one.scales[name], rtol=1e-6)


def test_min_range_keeps_small_ranges_out(digits):
    done = digits("--min-range", 0.75)
    assert min(min(layer["chosen"]) for layer in done.layers) == 14
    assert min(min(layer["chosen"]) for layer in digits().layers) < 14
    assert all(set(layer["chosen"]) == {19} for layer in digits("--min-range", 1).layers)


# ---- the guard, dead channels, few samples ----

def one_matmul(folder, w, x):
    """Model and data of x @ w, for digits()."""
    nodes = [onnx_bytes.node("MatMul", ["x", "w"], ["y"], "layer")]
    (folder / "m.onnx").write_bytes(onnx_bytes.model(nodes, [onnx_bytes.value("x", ("N", len(w)))], [onnx_bytes.value("y")],
                                                     [onnx_bytes.tensor("w", w.astype(numpy.float32))]))
    numpy.savez(folder / "x.npz", x=x.astype(numpy.float32))
    return {"model": folder / "m.onnx", "calib": folder / "x.npz"}


def check_guard(digits, model, *flags):
    """The model is one that the search makes worse. Returns the layer that fell back."""
    plain, warned, fell = (digits(*flags, *guard, **model) for guard in ([], ["--guard", "warn"], ["--guard", "fallback"]))
    assert "worse-than-full-range" not in plain.stderr
    assert "layer: the chosen grids lose" in warned.stderr and "(worse-than-full-range)" in warned.stderr
    assert warned.scales == plain.scales and "fell_back" not in warned.layers[0]
    assert "(worse-than-full-range)" in fell.stderr and fell.layers[0]["fell_back"] is True
    assert set(fell.layers[0]["chosen"]) == {19} and fell.layers[0]["loss"] == fell.layers[0]["minmax_loss"]
    return plain.layers[0], fell.layers[0]


def test_the_guard_sees_that_channels_choose_badly_for_each_other(digits, tmp_path):
    """A tensor's grid is the largest that one of its channels wants, which may be the worst for all others."""
    random = numpy.random.default_rng(5)
    model = one_matmul(tmp_path, random.normal(size=(6, 3)), random.normal(size=(64, 6)))
    plain, fell = check_guard(digits, model, "--granularity", "per_tensor", "--param-bw", 3)
    assert loss(fell) < loss(plain)


def test_the_guard_sees_what_lpbq_makes_of_the_chosen_scales(digits, tmp_path):
    random = numpy.random.default_rng(0)
    w = random.normal(size=(8, 1)) * numpy.repeat(random.uniform(.2, 3, size=4), 2)[:, None]
    model = one_matmul(tmp_path, w, random.normal(size=(64, 8)))
    check_guard(digits, model, "--granularity", "block", "--block-size", 2, "--lpbq", "--param-bw", 3)


def test_the_guard_has_nothing_to_say_where_every_grid_is_chosen_by_itself(digits):
    assert digits("--guard", "fallback").stderr == ""


def test_dead_channels(digits):
    model = {"model": ZOO / "silent_input.onnx", "calib": ZOO / "silent_input.npz"}
    done = digits(**model)
    assert done.layers[0]["chosen"][3:] == [0, 0, 0] and "(dead-channels)" in done.stderr and "3 of 6 channels" in done.stderr
    full = digits("--dead-channels", "full_range", **model)
    assert full.layers[0]["chosen"][3:] == [19, 19, 19]
    assert full.layers[0]["chosen"][:3] == done.layers[0]["chosen"][:3]


def test_few_samples_are_warned_of(digits):
    assert "(few-samples-per-channel)" not in digits().stderr
    few = digits("--num-batches", 1, "--batch-size", 16)
    assert "/13/Gemm: its 16 input vectors" in few.stderr and "/3/Conv" not in few.stderr


# ---- loaded encodings ----

@pytest.mark.parametrize("version", ["0.6.1", "1.0.0", "2.0.0", "2.1.0"])
@pytest.mark.parametrize("flags", [[], ["--granularity", "per_tensor"], ["--symmetric", "false"]])
def test_frozen_encodings_come_out_as_they_went_in(digits, run, version, flags):
    first = digits(*flags)
    file = first.file
    if version != "1.0.0":
        done = run("quantize", MODEL, CALIB, "-o", file.parent / "other", "--encoding-version", version, *flags)
        assert done.returncode == 0, done.stderr
        file = file.parent / "other/model.encodings"
    again = digits("--load-encodings", file, "--load-as", "freeze", out="again")
    assert again.encodings["param_encodings"] == first.encodings["param_encodings"]
    assert all(layer["strategy"] == "none" for layer in again.layers)


def test_frozen_blocks_come_out_as_they_went_in(digits):
    first = digits("--granularity", "block", "--block-size", 4)
    again = digits("--load-encodings", first.file, "--load-as", "freeze", out="again")
    assert again.encodings["param_encodings"] == first.encodings["param_encodings"]


def test_a_part_can_be_frozen_and_the_rest_searched(digits, tmp_path):
    first = digits()
    part = dict(first.encodings, param_encodings=first.encodings["param_encodings"][:3])
    (tmp_path / "part.encodings").write_text(json.dumps(part))
    again = digits("--load-encodings", tmp_path / "part.encodings", "--load-as", "freeze", out="again")
    assert numpy.allclose(sum(again.scales.values(), []), sum(first.scales.values(), []), rtol=1e-6)
    assert [layer["strategy"] == "none" for layer in again.layers] == [True] * 3 + [False] * 3


def test_a_search_can_start_from_encodings(digits):
    first = digits("--num-candidates", 10)
    again = digits("--load-encodings", first.file, out="again")
    for name, scales in again.scales.items():
        part = numpy.array(scales) / first.scales[name] * 20
        assert numpy.allclose(part, numpy.rint(part), rtol=1e-5) and part.max() <= 20.0001


# ---- what is refused ----

@pytest.mark.parametrize("text, flags", [
    ("/block_size: it goes with", ["--block-size", 4]),
    ("/lpbq: it goes with", ["--lpbq"]),
    ("/granularity: blocks need a block_size", ["--granularity", "block"]),
    ("/lpbq: its grids are symmetric", ["--granularity", "block", "--block-size", 4, "--lpbq", "--symmetric", "false"]),
    ("/lpbq: it has at most 8 bits", ["--granularity", "block", "--block-size", 4, "--lpbq", "--param-bw", 9]),
    ("--granularity: ", ["--granularity", "channel"]),
    ("--block-size: ", ["--block-size", -1]),
    ("--symmetric: ", ["--symmetric", "yes"]),
    ("--search: ", ["--search", "fine"]),
    ("--guard: ", ["--guard", "on"]),
    ("--dead-channels: ", ["--dead-channels", "full"]),
    ("--min-range: 1.5 is not in the range", ["--min-range", "1.5"]),
    ("--min-range: ", ["--min-range", "nan"]),
    ("--load-as: ", ["--load-as", "frozen"]),
    ("--load-encodings: expected the content", ["--load-encodings", "no.such.file"]),
    ("--load-encodings: this is no encodings file", ["--load-encodings", "{}"]),
])
def test_settings_that_are_wrong(wrong, text, flags):
    wrong(2, text, *flags)


@pytest.mark.parametrize("text, item", [
    ("/0: expected an object", 1),
    ("/0: \"match\" is missing", {"param_bw": 3}),
    ("/0: it sets nothing", {"match": {"name": "*"}}),
    ("/0/match: expected an object", {"match": "x", "param_bw": 3}),
    ("/0/match: expected an object", {"match": {}, "param_bw": 3}),
    ("/0/match/node: layers are matched by", {"match": {"node": "x"}, "param_bw": 3}),
    ("/0/match/name: expected a string", {"match": {"name": 3}, "param_bw": 3}),
    ("/0/param_bw: 1 is not in the range", {"match": {"name": "*"}, "param_bw": 1}),
    ("/0/threads: it cannot differ", {"match": {"name": "*"}, "threads": 1}),
    ("/0/param_bits: \"param_bits\" is unknown", {"match": {"name": "*"}, "param_bits": 3}),
    ("/overrides/0/block_size: it goes with", {"match": {"name": "*"}, "granularity": "per_channel", "block_size": 4}),
])
def test_overrides_that_are_wrong(wrong, text, item):
    wrong(2, text, *overrides(item))


@pytest.mark.parametrize("text, flags", [
    ("/overrides/0/match/name: no Conv, Gemm or MatMul matches \"/13/gem\"; the nearest is \"/13/Gemm\"",
     overrides({"match": {"name": "/13/gem"}, "param_bw": 3})),
    ("/overrides/0/match/op_type: the model has no MatMul", overrides({"match": {"op_type": "MatMul"}, "param_bw": 3})),
    ("/overrides/0/block_size: 7 divides the input channels of no layer",
     overrides({"match": {"op_type": "Gemm"}, "granularity": "block", "block_size": 7})),
    ("/block_size: 7 divides the input channels of no layer", ["--granularity", "block", "--block-size", 7]),
    ("/overrides/0/block_size: it goes with", overrides({"match": {"op_type": "Gemm"}, "block_size": 8})),
])
def test_settings_that_do_not_fit_the_model(wrong, text, flags):
    wrong(1, text, *flags)


def test_encodings_of_another_model(wrong, digits, tmp_path):
    first = digits(out="first")
    entry = dict(first.encodings["param_encodings"][0], name="nowhere")
    (tmp_path / "a").write_text(json.dumps(dict(first.encodings, param_encodings=[entry])))
    wrong(1, "/load_encodings: the model has no nowhere", "--load-encodings", tmp_path / "a")
    entry = dict(first.encodings["param_encodings"][0], scale=[1.0, 1.0], offset=[-8.0, -8.0])
    (tmp_path / "b").write_text(json.dumps(dict(first.encodings, param_encodings=[entry])))
    wrong(1, "2 grids for 12 channels", "--load-encodings", tmp_path / "b")
