#!/usr/bin/env python3
"""Real models against the reference's results for them.

    tests/golden/golden.py [NAME ...]

$SEQMSED_SHARED (default ../shared) holds models/MODEL/*.onnx with calib.npz, and reference/golden/NAME/ with the settings
(meta.json), the encodings (model_1_0_0.encodings) and the full-precision quantizers (quantizers.json.gz) of a run of the
reference. Models that are not there are also looked for in $SEQMSED_MODELS. Every run whose settings we have is repeated with
build/seqmsed and every weight that the reference searched is compared:

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


def not_built(args):
    """Why we cannot repeat a run with these settings yet, or None. Settings of the activations do not matter to the weights."""
    if args.get("block_size") or args.get("lpbq"):
        return "blockwise"
    if args.get("config"):
        return "a configuration file"
    if args.get("scheme_params"):
        return "another scheme for parameters"
    if not str(args["param_bw"]).isdigit():
        return f"param_bw {args['param_bw']}"
    return None


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


def settings_of(model, args, meta):
    """What to call seqmsed with."""
    one_by_one = model.stem.endswith("static1")
    samples = meta["batch_size"] * meta["num_batches"]
    return {"param_bw": args["param_bw"], "num_candidates": args["candidates"], "batch_size": 1 if one_by_one else meta["batch_size"],
            "num_batches": samples if one_by_one else meta["num_batches"]}


def renamed(ours, theirs):
    """Another exporter gives the weights other names; both files list them in the order of the graph."""
    return dict(zip(theirs, ours.values())) if len(ours) == len(theirs) and set(ours) != set(theirs) else ours


def quantized(folder):
    """What the reference made of the parameters, in full precision: {weight: [(scale, offset), ...]} of those it searched, and
    the names of all that it quantizes, searched or not."""
    with gzip.open(folder / "quantizers.json.gz") as f:
        params = {name: q for name, q in json.load(f).items() if q["param"] and q["enabled"]}
    return {name: [(e[2], e[3]) for e in q["encodings"]] for name, q in params.items() if q["frozen"]}, set(params)


def compare(ours, theirs, known):
    """Returns (channels, equal, [channels with another candidate], [everything worse])."""
    channels = equal = 0
    differs, broken = [], []
    for name, grids in theirs.items():
        channels += len(grids)
        mine = ours.get(name)
        if mine is None:
            broken += [f"{name}: not in ours"] * len(grids)
            continue
        mine = list(zip(mine["scale"], mine["offset"]))
        if len(mine) != len(grids):
            broken += [f"{name}: {len(mine)} channels, {len(grids)} expected"] * len(grids)
            continue
        for c, (a, b) in enumerate(zip(mine, grids)):
            if abs(a[0] - b[0]) <= 1e-6 * b[0] and a[1] == b[1]:
                equal += 1
            else:
                differs.append(f"{name}[{c}]: scale {a[0]!r} offset {a[1]}, reference {b[0]!r} {b[1]}, ratio {a[0] / b[0]:.6f}")
    broken += [f"{name}: not quantized by the reference" for name in ours if name not in known]
    return channels, equal, differs, broken


def near_ties(golden, encodings, model, calib, settings):
    """Asks `seqmsed compare`; returns (whether every difference is a near-tie, what it printed)."""
    expected = encodings.with_name("reference.encodings")  # the part that ours has too
    whole = common.load(golden / "model_1_0_0.encodings")
    expected.write_text(json.dumps(dict(whole, activation_encodings=[])))
    try:
        return True, common.seqmsed("compare", encodings, expected, "--model", model, "--calib", calib,
                                    *common.flags(settings))
    except common.Failure as e:
        return False, str(e)


def check(golden, tmp):
    """Repeats one run; yields a row for each model file it was made from."""
    meta = json.loads((golden / "meta.json").read_text())
    args = meta["args"]
    why = not_built(args)
    if why:
        raise Skip(f"{why}: not built yet")
    theirs, known = quantized(golden)
    for model, calib in inputs_of(golden.name, args):
        out = pathlib.Path(tmp) / model.stem
        settings = settings_of(model, args, meta)
        start = time.monotonic()
        common.quantize(model, calib, out, **settings)
        seconds = time.monotonic() - start
        channels, equal, differs, broken = compare(renamed(common.param_encodings(out / "model.encodings"), theirs), theirs, known)
        ties, said = near_ties(golden, out / "model.encodings", model, calib, settings) if differs else (True, "")
        near, wrong = (len(differs), len(broken)) if ties else (0, len(differs) + len(broken))
        label = golden.name
        if (model.name, calib.name) != (pathlib.Path(args["model"]).name, pathlib.Path(args["calib"]).name):
            label += f" ({model.name}, {calib.name})" if calib.name != "calib.npz" else f" ({model.name})"
        yield label, channels, equal, near, wrong, seconds, broken + differs, said


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
