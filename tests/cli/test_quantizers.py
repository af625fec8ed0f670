"""`seqmsed inspect --quantizers`: what it lists, and what it refuses. That the listing is right is unit/test_quantsim.c's."""
import json
import pathlib

import pytest

PLACEMENT = pathlib.Path(__file__).resolve().parent.parent / "data/placement"
MODEL = PLACEMENT / "linear_layers.onnx"


@pytest.fixture(name="listing")
def fixture_listing(run):
    def start(*flags, model=MODEL):
        done = run("inspect", model, "--quantizers", *flags)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return start


def weight_of(listing, op):
    return next(q for q in listing["quantizers"] if q["op"] == op and q["param_type"] == "weight")


def test_lists_fused_ops_with_their_nodes(listing):
    ops = {op["name"]: op for op in listing()["ops"]}
    assert ops["/block/fc"] == {"name": "/block/fc", "type": "Gemm", "nodes": ["/block/fc/MatMul", "/block/fc/Add"]}


def test_widths_and_float16(listing):
    some = listing("--param-bw", 3, "--output-bw", 16)["quantizers"]
    assert {(q["param"], q["bitwidth"], q["dtype"]) for q in some} == {(True, 3, "int"), (False, 16, "int")}
    half = listing("--output-float16")["quantizers"]
    assert {(q["param"], q["bitwidth"], q["dtype"]) for q in half} == {(True, 4, "int"), (False, 16, "float")}


def test_blocks_where_they_fit(listing):
    blocks = listing("--block-size", 8, "--block-ops", "Gemm")
    assert (weight_of(blocks, "/block/fc")["type"], weight_of(blocks, "/block/fc")["block"]) == ("PER_BLOCK", [0, 8])
    assert weight_of(blocks, "/u")["type"] == "PER_CHANNEL"  # 6 inputs
    assert weight_of(listing("--block-size", 4, "--lpbq"), "/block/fc")["type"] == "LPBQ"
    assert weight_of(listing("--block-size", 4, "--block-ops", "Conv"), "/block/fc")["type"] == "PER_CHANNEL"


def test_configurations_by_name_and_by_file(listing):
    assert weight_of(listing("--config", "per-tensor"), "/block/fc")["type"] == "PER_TENSOR"
    assert all(q["strict"] for q in listing("--config", PLACEMENT / "strict.json")["quantizers"])


@pytest.mark.parametrize("text, says", [
    ('{"defaults": {"ops": {"is_output_quantized": true}}}', "/defaults/ops/is_output_quantized"),
    ('{"defaults": {}}', "/params"),
    ('{', "line 1"),
    ("[]", "a JSON object"),
    ("", "a JSON object"),
])
def test_refuses_wrong_configurations(run, tmp_path, text, says):
    (tmp_path / "c.json").write_text(text)
    done = run("inspect", MODEL, "--quantizers", "--config", tmp_path / "c.json")
    assert done.returncode == 1 and says in done.stderr and done.stderr.strip().endswith("(bad-param)"), done.stderr


def test_refuses_two_ranges_for_one_grid(run):
    done = run("inspect", PLACEMENT / "softmax_relu.onnx", "--quantizers", "--config", "htp_v81")
    assert done.returncode == 1 and "(unsupported-graph)" in done.stderr


@pytest.mark.parametrize("flags", [("--param-bw", "1"), ("--param-bw", "four"), ("--output-bw", "17"), ("--block-size", "0"), ("--nonsense",), ("--config",)])
def test_refuses_wrong_words(run, flags):
    done = run("inspect", MODEL, "--quantizers", *flags)
    assert done.returncode == 2 and done.stderr.startswith("seqmsed: "), done.stderr


def test_needs_a_model(run):
    assert run("inspect", "--quantizers").returncode == 2
    assert run("inspect", "/no/such/model.onnx", "--quantizers").returncode == 1
