#!/usr/bin/env python3
"""Real models against the reference's results for them.

    tests/golden/golden.py [NAME ...]

$SEQMSED_SHARED (default ../shared) holds models/MODEL/*.onnx with calib.npz, and reference/golden/NAME/ with the settings
(meta.json), the encodings (model_1_0_0.encodings) and the full-precision quantizers (quantizers.json.gz) of a run of the
reference. Models that are not there are also looked for in $SEQMSED_MODELS. Every run whose settings we have is repeated with
build/seqmsed and every weight that the reference searched is compared:

    equal      the same scale, as a double, and the same offset
    near-tie   another candidate, but in double precision the two losses are closer than 1e-5 of their size, so that the
               reference's single-precision sums may have decided; `seqmsed compare` evaluates both
    wrong      anything else

Ends with `golden: N passed, N failed, N skipped`, one count a run.
"""
import gzip
import json
import os
import pathlib
import sys
import tempfile
import time

import common

SHARED = pathlib.Path(os.environ.get("SEQMSED_SHARED", common.TOP.parent / "shared"))
MODELS = [p for p in (SHARED / "models", os.environ.get("SEQMSED_MODELS")) if p]


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
    for root in MODELS:
        if (pathlib.Path(root) / relative).exists():
            return pathlib.Path(root) / relative
    raise Skip(f"no {relative}")


def models_of(args):
    """The reference refuses some models and was given a copy with named dimensions; ours takes both."""
    model = args["model"]
    found = [find(model)]
    if model.endswith("_fixdims.onnx"):
        found.append(find(model.replace("_fixdims", "")))
    return found


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
            if a == tuple(b):
                equal += 1
            else:
                differs.append(f"{name}[{c}]: scale {a[0]!r} offset {a[1]}, reference {b[0]!r} {b[1]}, ratio {a[0] / b[0]:.6f}")
    broken += [f"{name}: not quantized by the reference" for name in ours if name not in known]
    return channels, equal, differs, broken


def near_ties(golden, encodings, model, calib):
    """Asks `seqmsed compare`; returns (whether every difference is a near-tie, what it printed)."""
    expected = encodings.with_name("reference.encodings")  # the part that ours has too
    whole = common.load(golden / "model_1_0_0.encodings")
    expected.write_text(json.dumps(dict(whole, activation_encodings=[])))
    try:
        return True, common.seqmsed("compare", encodings, expected, "--model", model, "--calib", calib)
    except common.Failure as e:
        return False, str(e)


def check(golden, tmp):
    """Repeats one run; yields a row for each model file it was made from."""
    meta = json.loads((golden / "meta.json").read_text())
    args = meta["args"]
    why = not_built(args)
    if why:
        raise Skip(f"{why}: not built yet")
    calib = find(args["calib"])
    theirs, known = quantized(golden)
    for model in models_of(args):
        out = pathlib.Path(tmp) / model.stem
        start = time.monotonic()
        common.quantize(model, calib, out, param_bw=args["param_bw"], num_candidates=args["candidates"],
                        batch_size=meta["batch_size"], num_batches=meta["num_batches"])
        seconds = time.monotonic() - start
        channels, equal, differs, broken = compare(common.param_encodings(out / "model.encodings"), theirs, known)
        ties, said = near_ties(golden, out / "model.encodings", model, calib) if differs else (True, "")
        near, wrong = (len(differs), len(broken)) if ties else (0, len(differs) + len(broken))
        label = golden.name + ("" if model.name == pathlib.Path(args["model"]).name else f" ({model.name})")
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
    print(f"{'model':<34}{'channels':>9}{'equal':>9}{'near-ties':>10}{'wrong':>7}{'seconds':>9}")
    for name in names:
        with tempfile.TemporaryDirectory() as tmp:
            try:
                for label, *counts, seconds, differs, said in check(root / name, tmp):
                    print(f"{label:<34}{counts[0]:>9}{counts[1]:>9}{counts[2]:>10}{counts[3]:>7}{seconds:>9.1f}", flush=True)
                    totals = [a + b for a, b in zip(totals, counts)]
                    passed, failed = passed + (not counts[3]), failed + bool(counts[3])
                    for line in differs[:10] + said.splitlines()[-10:]:
                        print(f"    {line}")
            except Skip as e:
                skipped += 1
                print(f"{name:<34}skipped: {e}")
            except (common.Failure, OSError, KeyError, ValueError) as e:
                failed += 1
                print(f"{name:<34}FAILED: {type(e).__name__}: {e}", flush=True)
    print(f"{'all':<34}{totals[0]:>9}{totals[1]:>9}{totals[2]:>10}{totals[3]:>7}")
    print(f"golden: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
