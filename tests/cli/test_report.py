"""report.html: all that report.json says, in one file that needs no other, whatever names a model has."""
import html.parser
import json
import re

import numpy
import pytest

import onnx_bytes
from conftest import TOP

DIGITS = TOP / "tests/data/digits"
HOSTILE = ['"><script>alert(1)</script>', "</table></main><style>*{display:none}</style>", "' onload='x", "&lt;&#0;&amp", "<!--", "a\x01\x9f\uffff", "]]>\u202e"]

# What report.json has: what is new there has to be told on the page, and then here.
WHOLE = {"version", "fingerprint", "params", "samples", "samples_used", "batches", "pieces", "seconds", "predicted_seconds", "spilled_bytes", "warnings",
         "folded", "accuracy", "qdq", "layers"}
LAYER = {"index", "node", "op_type", "weight", "channels", "fan_in", "param_bw", "symmetric", "granularity", "grids", "candidates", "loss_fn", "strategy",
         "rechecked", "seconds", "predicted_seconds", "histogram", "loss_total", "minmax_loss_total", "gain", "sqnr_db", "chosen", "loss", "minmax_loss"}


class Page(html.parser.HTMLParser):
    """tables[id]: rows of cells, a cell being (text, numbers in it); lists[id]: what a list defines."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.lists, self.tags, self.attributes = {}, {}, set(), []
        self.row = self.cell = self.into = None
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        at = dict(attrs)
        self.tags.add(tag)
        self.attributes += attrs
        if tag == "table":
            self.row = self.tables.setdefault(at["id"], [])
        if tag == "tr":
            self.row.append([])
        if tag in ("td", "th"):
            self.row[-1].append(["", []])
            self.cell = self.row[-1][-1]
        if tag == "data" and self.cell:
            self.cell[1].append(json.loads(at["value"]))
        if tag == "svg" and self.cell and "aria-label" in at:
            self.cell[1] += [int(n) for n in at["aria-label"].split(":")[1].split()]
        if tag == "dl":
            self.into = self.lists.setdefault(at["id"], [])
        if tag in ("dt", "dd") and self.into is not None:
            self.into.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None
        if tag == "dl":
            self.into = None

    def handle_data(self, data):
        if self.cell:
            self.cell[0] += data
        elif self.into:
            self.into[-1] += data.strip("\n")


def both(out):
    return json.loads((out / "report.json").read_text()), Page(out / "report.html")



def test_the_page_says_what_the_json_says(run, tmp_path):
    done = run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "--eval", DIGITS / "eval.npz", "-o", tmp_path, "--quiet",
               "--overrides", '[{"match": {"op_type": "Gemm"}, "granularity": "block", "block_size": 32, "num_candidates": 7}]')
    assert done.returncode == 0, done.stderr
    r, page = both(tmp_path)
    assert f'id="fingerprint">{r["fingerprint"]}<' in (tmp_path / "report.html").read_text()
    assert dict(zip(page.lists["params"][::2], map(json.loads, page.lists["params"][1::2]))) == r["params"]
    assert {k: json.loads(v) for k, v in zip(page.lists["data"][::2], page.lists["data"][1::2])} == {
        k: r[k] for k in ("samples", "samples_used", "batches", "pieces", "spilled_bytes")}
    assert {row[0][0]: row[1][1][0] for row in page.tables["seconds"][1:]} == r["seconds"]
    assert {row[0][0]: row[2][1][0] for row in page.tables["seconds"][1:] if row[2][1]} == r["predicted_seconds"]
    assert set(r) == WHOLE
    for layer, row in zip(r["layers"], page.tables["layers"][1:], strict=True):
        text, numbers = [c[0] for c in row], [c[1] for c in row]
        assert text[1] == layer["node"] + layer["weight"] and text[2].startswith(layer["op_type"])
        assert numbers[0] == [layer["index"]] and numbers[2] == [layer["channels"], layer["fan_in"]]
        assert numbers[3] == [layer["param_bw"], *([layer["block_size"]] if "block_size" in layer else []), layer["grids"]]
        assert layer["granularity"] in text[3] and ("asymmetric" in text[3]) != layer["symmetric"]
        assert numbers[4] + numbers[5] + numbers[6] + numbers[7] == [layer[k] for k in ("minmax_loss_total", "loss_total", "gain", "sqnr_db")]
        assert numbers[8] == layer["histogram"]
        assert text[9].startswith(f"{layer['loss_fn']}, {layer['strategy']}") and numbers[9] == [layer["candidates"], layer["rechecked"]]
        assert numbers[10] == [layer["seconds"], layer["predicted_seconds"]]
        assert set(layer) - {"block_size", "fell_back"} == LAYER
        assert layer["gain"] == pytest.approx(1 - layer["loss_total"] / layer["minmax_loss_total"])
        assert layer["loss_total"] == pytest.approx(sum(layer["loss"])) and layer["minmax_loss_total"] == pytest.approx(sum(layer["minmax_loss"]))
    for want, row in zip(r["accuracy"], page.tables["accuracy"][1:], strict=True):
        numbers = [n for c in row for n in c[1]]
        assert row[0][0] == want["weights"] and (row[1][0] == "quantized") == want["activations"]
        values = [want["samples"], want["accuracy"], want["top_k"], want["retrieval"], want["agreement"], *(o[k] for o in want["outputs"] for k in ("sqnr_db", "cosine"))]
        assert numbers == [v for v in values if v is not None]
    assert [[row[0][0], *row[1][1], *row[2][1]] for row in page.tables["qdq"][1:]] == [
        [v for v in (q["file"], q["sqnr_db"], q["largest_difference"]) if v is not None] for q in r["qdq"]]


def test_it_needs_nothing_else(run, tmp_path):
    run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", tmp_path, "--quiet")
    text, page = (tmp_path / "report.html").read_text(), Page(tmp_path / "report.html")
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "a", "base"}
    assert not [a for a in page.attributes if a[0] in ("src", "href", "style") or a[0].startswith("on")]
    assert not re.search(r"url\(|@import|https?:", text)
    assert "default-src 'none'" in text and "@media print" in text and "prefers-color-scheme:dark" in text


def test_hostile_names_are_text(run, tmp_path):
    plain = reports_of(run, tmp_path / "plain", ["first", "second"])[1]
    for i in range(0, len(HOSTILE) - 1):
        names = HOSTILE[i:i + 2]
        r, page = reports_of(run, tmp_path / str(i), names)
        assert page.tags == plain.tags and len(page.attributes) == len(plain.attributes)
        shown = [row[1][0] for row in page.tables["layers"][1:]]
        assert shown == [re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\uffff]", "\ufffd", layer["node"] + layer["weight"]) for layer in r["layers"]]


def reports_of(run, out, names):
    """Both reports of a model of two layers with these names, which stand for its nodes and its weights."""
    out.mkdir()
    o, (a, b) = onnx_bytes, names
    nodes = [o.node("MatMul", ["x", a + "w"], ["a"], a), o.node("Relu", ["a"], ["b"], "relu"), o.node("MatMul", ["b", b + "v"], ["y"], b)]
    (out / "m.onnx").write_bytes(o.model(nodes, [o.value("x", ("N", 6))], [o.value("y")], [o.tensor(a + "w", o.weight(6, 5)), o.tensor(b + "v", o.weight(5, 4))]))
    numpy.savez(out / "c.npz", x=numpy.random.default_rng(3).normal(size=(8, 6)).astype(numpy.float32))
    done = run("quantize", out / "m.onnx", out / "c.npz", "-o", out / "out", "--quiet")
    assert done.returncode == 0, done.stderr
    return both(out / "out")
