#!/usr/bin/env python3
"""Real models against the reference's results for them.

    tests/golden/golden.py [NAME ...]

$SEQMSED_SHARED (default ../shared) holds models/MODEL/*.onnx with calib.npz, and reference/golden/NAME/ with the settings
(meta.json), the encodings (model_1_0_0.encodings) and the full-precision quantizers (quantizers.json.gz) of a run of the
reference. Models that are not there are also looked for in $SEQMSED_MODELS. Every run whose settings we have is repeated with
build/seqmsed. Of the model that the reference had itself, the whole encodings file is compared: tensors, order, kinds of quantizers, scales to 1e-5. Of
that and of its other flavours, every weight that the reference searched is:

    equal      the same offset, and the same scale to 1e-6 (exporters that fold constants differ in the last bit of a weight)
    near-tie   another candidate, but in double precision the two losses are closer than 1e-5 of their size, so that the
               reference's single-precision sums may have decided; `seqmsed compare` evaluates both
    wrong      anything else

Ends with `golden: N passed, N failed, N skipped`, one count a run.
"""
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import common

SHARED = pathlib.Path(os.environ.get("SEQMSED_SHARED", common.TOP.parent / "shared"))
MODELS = [p for p in (SHARED / "models", os.environ.get("SEQMSED_MODELS")) if p]


# The same network and data in other clothes, which must give the same encodings: (model, data). A model with a fixed batch is fed
# one sample at a time.
FLAVOURS = {
    "digits_cnn": [("model.onnx", "calib.npy"), ("model.onnx", "calib_deflate.npz"), ("model.onnx", "calib_fortran_f64.npz"),
                   ("model.onnx", "calib_labeled.npz"), ("model_static1.onnx", "calib.npz"), ("model_dynamo.onnx", "calib.npz"),
                   ("model_dynamo_extdata.onnx", "calib.npz")],
    "digits_cnn_bn": [("model_dynamo_noopt.onnx", "calib.npz")],
    "mnist_resnet": [("model.onnx", "calib_labeled.npz")],
}


class Skip(Exception):
    pass


def find(relative):
    """A file of the models. One too large to keep there has a script get_NAME.sh beside its folder, which fetches it once."""
    relative = pathlib.Path(relative)
    for root in MODELS:
        if (pathlib.Path(root) / relative).exists():
            return pathlib.Path(root) / relative
    script = SHARED / "models" / f"get_{relative.parent}.sh"
    fetched = common.TOP / "build/models" / relative
    if script.exists() and not fetched.exists():
        print(f"fetching {relative}", flush=True)
        subprocess.run(["sh", str(script), str(fetched.parent)], stdout=subprocess.DEVNULL, check=False)
    if fetched.exists():
        return fetched
    raise Skip(f"no {relative}")


def inputs_of(name, args):
    """Model and data files that must give this result. The reference refuses some models and was given a copy with named dimensions; ours
    takes both."""
    model, calib = args["model"], args["calib"]
    found = [(find(model), find(calib))]
    if model.endswith("_fixdims.onnx"):
        found.append((find(model.replace("_fixdims", "")), find(calib)))
    folder = pathlib.Path(model).parent
    return found + [(find(folder / m), find(folder / c)) for m, c in FLAVOURS.get(name, [])]


def blocks(model, args):
    """The overrides that give the run's op types their blocks; the reference calls a MatMul with an Add after it a Gemm."""
    types = set(args["bq_op_types"].split(",")) | ({"MatMul"} if "Gemm" in args["bq_op_types"] else set())
    here = {layer["op_type"] for layer in json.loads(common.seqmsed("inspect", model, "--json"))["layers"]}
    return json.dumps([{"match": {"op_type": t}, "granularity": "block", "block_size": args["block_size"], "lpbq": args["lpbq"]}
                       for t in sorted(types & here)])


def settings_of(model, args, meta):
    """What to call seqmsed with."""
    one_by_one = model.stem.endswith("static1")
    samples = meta["batch_size"] * meta["num_batches"]
    return {"param_bw": args["param_bw"], "output_bw": args["act_bw"], "num_candidates": args["candidates"], "config": args["config"],
            "quant_scheme": args["scheme"], "percentile": args["percentile"], "batch_size": 1 if one_by_one else meta["batch_size"],
            "num_batches": samples if one_by_one else meta["num_batches"],
            "overrides": blocks(model, args) if args.get("block_size") else None}


def renamed(ours, theirs):
    """Another exporter gives the weights other names; both files list them in the order of the graph."""
    return dict(zip(theirs, ours.values())) if len(ours) == len(theirs) and set(ours) != set(theirs) else ours


def grids_of(entry):
    """[(scale, offset), ...] of an entry of version 1.0.0; of LPBQ as its integers say."""
    factors = entry.get("per_block_int_scale")
    if not factors:
        return list(zip(entry["scale"], entry["offset"]))
    blocks_each = len(factors) // len(entry["scale"])
    return [(entry["scale"][i // blocks_each] * f, entry["offset"][i // blocks_each]) for i, f in enumerate(factors)]


def quantized(folder):
    """What the reference made of the parameters: {weight: entry} of those it searched, and the names of all that it quantizes, searched or
    not."""
    with gzip.open(folder / "quantizers.json.gz") as f:
        params = {name: q for name, q in json.load(f).items() if q["param"] and q["enabled"]}
    entries = common.param_encodings(folder / "model_1_0_0.encodings")
    return {name: entries[name] for name, q in params.items() if q["frozen"]}, set(params)


def searched_blocks(folder, theirs):
    """The grids of LPBQ weights before their scales are compressed: those that the reference searched and goes on with."""
    with gzip.open(folder / "quantizers.json.gz") as f:
        live = json.load(f)
    out = {}
    for name, entry in theirs.items():
        grids = [e[2:4] for e in live[name]["encodings"]]
        channels = len(entry["scale"])
        if live[name]["channel_axis"] == 1:  # [blocks][channels]
            grids = [grids[b * channels + c] for c in range(channels) for b in range(len(grids) // channels)]
        out[name] = {"enc_type": "PER_BLOCK", "scale": [g[0] for g in grids], "offset": [g[1] for g in grids]}
    return out


def compare(ours, theirs, known):
    """Returns (channels, equal, [channels with another candidate], [everything worse])."""
    channels = equal = 0
    differs, broken = [], []
    for name, entry in theirs.items():
        grids = grids_of(entry)
        channels += len(grids)
        mine = ours.get(name)
        if mine is None or mine["enc_type"] != entry["enc_type"]:
            broken += [f"{name}: not in ours as {entry['enc_type']}"] * len(grids)
            continue
        mine = grids_of(mine)
        if len(mine) != len(grids):
            broken += [f"{name}: {len(mine)} grids, {len(grids)} expected"] * len(grids)
            continue
        for c, (a, b) in enumerate(zip(mine, grids)):
            if abs(a[0] - b[0]) <= 1e-6 * b[0] and a[1] == b[1]:
                equal += 1
            else:
                differs.append(f"{name}[{c}]: scale {a[0]!r} offset {a[1]}, reference {b[0]!r} {b[1]}, ratio {a[0] / b[0]:.6f}")
    broken += [f"{name}: not quantized by the reference" for name in ours if name not in known]
    return channels, equal, differs, broken


def near_ties(golden, folder, model, calib, settings):
    """Asks `seqmsed compare`; returns (whether every difference is a near-tie, what it printed)."""
    expected = folder / "reference.encodings"  # the part that ours has too
    expected.write_text(json.dumps(dict(common.load(golden / "model_1_0_0.encodings"), activation_encodings=[])))
    try:
        return True, common.seqmsed("compare", common.searched_file(folder), expected, "--model", model, "--calib", calib, *common.flags(settings))
    except common.Failure as e:
        return False, str(e)


def close(a, b):
    """Whether an encoding says what the reference's does: scales to 1e-5, offsets to 1 where rounding may go either way."""
    plain = [{k: v for k, v in x.items() if k not in ("scale", "offset")} for x in (a, b)]
    if plain[0] != plain[1] or len(a.get("scale", [])) != len(b.get("scale", [])):
        return False
    return all(abs(x - y) <= 1e-5 * y for x, y in zip(a.get("scale", []), b.get("scale", []))) and a.get("offset", []) == b.get("offset", [])


def all_encodings(ours, theirs, lpbq):
    """Faults of the whole encodings file: the same tensors in the same order, the same kinds of quantizers, the same scales. After an LPBQ search the
    reference simulates uncompressed scales and exports compressed ones; ours simulates what it exports, so its activations differ."""
    for section in ("param_encodings", "activation_encodings"):
        a, b = ({e["name"]: e for e in x[section]} for x in (ours, theirs))
        if list(a) != list(b):
            yield f"{section}: ours lacks {sorted(set(b) - set(a))[:5]}, has {sorted(set(a) - set(b))[:5]}, or has another order"
        for name in a.keys() & b.keys():
            if not close(a[name], b[name]) and not (lpbq and section == "activation_encodings"):
                yield f"{name}: ours {str(a[name])[:200]}, reference {str(b[name])[:200]}"


def numbers(entry):
    """The floating-point numbers of an entry of version 2, in order."""
    scales = entry.get("y_scale", entry.get("per_channel_float_scale"))
    flat = [scales]
    while flat and isinstance(flat[0], list):
        flat = [x for row in flat for x in row]
    return flat


def version_2(golden, model, calib, out, settings, lpbq):
    """Faults of the file of version 2.0.0, with its int32 biases and tensors whose numbers are only moved; the reference has none for basic_pitch."""
    file = golden / "model_2_0_0.encodings"
    if not file.exists():
        return []
    common.quantize(model, calib, out, encoding_version="2.0.0", **settings)
    ours, theirs = common.load(out / "model.encodings")["encodings"], common.load(file)["encodings"]
    if [e["name"] for e in ours] != [e["name"] for e in theirs]:
        return [f"2.0.0: ours lacks {sorted({e['name'] for e in theirs} - {e['name'] for e in ours})[:5]}, has "
                f"{sorted({e['name'] for e in ours} - {e['name'] for e in theirs})[:5]}, or has another order"]
    faults = []
    for a, b in zip(ours, theirs):
        same = {k: v for k, v in a.items() if "scale" not in k or "int" in k} == {k: v for k, v in b.items() if "scale" not in k or "int" in k}
        x, y = numbers(a), numbers(b)
        follows = lpbq and not b["output_dtype"].startswith("int4")
        if not follows and (not same or len(x) != len(y) or any(abs(p - q) > 1e-5 * abs(q) for p, q in zip(x, y))):
            faults.append(f"2.0.0, {a['name']}: ours {str(a)[:200]}, reference {str(b)[:200]}")
    return faults


def check(golden, tmp):
    """Repeats one run; yields a row for each model file it was made from."""
    meta = json.loads((golden / "meta.json").read_text())
    args = meta["args"]
    theirs, known = quantized(golden)
    reference = common.load(golden / "model_1_0_0.encodings")
    for model, calib in inputs_of(golden.name, args):
        out = pathlib.Path(tmp) / model.stem
        settings = settings_of(model, args, meta)
        start = time.monotonic()
        common.quantize(model, calib, out, **settings)
        seconds = time.monotonic() - start
        channels, equal, differs, broken = compare(renamed(common.searched(out), theirs), theirs, known)
        if str(model).endswith(args["model"]) and str(calib).endswith(args["calib"]):
            broken += all_encodings(common.load(out / "model.encodings"), reference, args["lpbq"])
            broken += version_2(golden, model, calib, out.with_suffix(".2"), settings, args["lpbq"])
        ties, said = near_ties(golden, out, model, calib, settings) if differs else (True, "")
        near, wrong = (len(differs), len(broken)) if ties else (0, len(differs) + len(broken))
        label = golden.name
        if (model.name, calib.name) != (pathlib.Path(args["model"]).name, pathlib.Path(args["calib"]).name):
            label += f" ({model.name}, {calib.name})" if calib.name != "calib.npz" else f" ({model.name})"
        yield label, channels, equal, near, wrong, seconds, broken + differs, said
    if args["lpbq"]:
        common.quantize(model, calib, out, **dict(settings, overrides=blocks(model, dict(args, lpbq=False))))
        channels, equal, differs, broken = compare(common.searched(out), searched_blocks(golden, theirs), known)
        yield f"{golden.name} (as searched)", channels, equal, 0, len(differs + broken), 0.0, broken + differs, ""


def main():
    root = SHARED / "reference/golden"
    if not root.is_dir():
        print(f"skipped: no {root} (set SEQMSED_SHARED)")
        print("golden: 0 passed, 0 failed, 1 skipped")
        return 0
    names = sys.argv[1:] or sorted(p.name for p in root.iterdir() if (p / "meta.json").exists())
    passed = failed = skipped = 0
    totals = [0, 0, 0, 0]
    print(f"{'model':<46}{'channels':>9}{'equal':>9}{'near-ties':>10}{'wrong':>7}{'seconds':>9}")
    for name in names:
        with tempfile.TemporaryDirectory() as tmp:
            try:
                for label, *counts, seconds, differs, said in check(root / name, tmp):
                    print(f"{label:<46}{counts[0]:>9}{counts[1]:>9}{counts[2]:>10}{counts[3]:>7}{seconds:>9.1f}", flush=True)
                    totals = [a + b for a, b in zip(totals, counts)]
                    passed, failed = passed + (not counts[3]), failed + bool(counts[3])
                    for line in differs[:10] + said.splitlines()[-10:]:
                        print(f"    {line}")
            except Skip as e:
                skipped += 1
                print(f"{name:<46}skipped: {e}")
            except (common.Failure, OSError, KeyError, ValueError) as e:
                failed += 1
                print(f"{name:<46}FAILED: {type(e).__name__}: {e}", flush=True)
    print(f"{'all':<46}{totals[0]:>9}{totals[1]:>9}{totals[2]:>10}{totals[3]:>7}")
    print(f"golden: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
