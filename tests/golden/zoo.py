#!/usr/bin/env python3
"""The small models of tests/data/zoo against the reference's encodings for them.

    tests/golden/zoo.py [CASE ...]

A scale must agree to 1e-6 of its size; where it does not, `seqmsed compare` must find that both candidates' losses, in double
precision, are closer than 1e-5. Cases with golden "brute" have no reference; their answer is worked out here in plain numpy.
Ends with `golden: N passed, N failed, N skipped`.
"""
import pathlib
import sys
import tempfile

import numpy

import common

ZOO = common.TOP / "tests/data/zoo"
SEARCH = ("param_bw", "num_candidates", "batch_size", "loss_fn", "block_size")


def settings(case, keys):
    flags = [word for key in keys if key in case for word in ("--" + key.replace("_", "-"), case[key])]
    return flags + (["--granularity", "block"] if "block_size" in case else [])


def quantize(case, folder):
    """Runs one case; returns the folder with the results."""
    flags = settings(case, SEARCH)
    flags += [word for name in case.get("exclude", []) for word in ("--exclude", name)]
    model = ZOO / case["model"]
    common.seqmsed("quantize", f"{model}.onnx", f"{model}.npz", "-o", folder, "--quiet", *flags)
    return folder


# ---- against the reference ------------------------------------------------------------------------------------------------


def differences(ours, theirs):
    """(what is plainly wrong, channels for which another candidate was chosen)"""
    wrong = [f"{name}: only {'ours' if name in ours else 'the reference'} has it" for name in sorted(set(ours) ^ set(theirs))]
    other = []
    for name in sorted(set(ours) & set(theirs)):
        a, b = ours[name], theirs[name]
        if {k: v for k, v in a.items() if k != "scale"} != {k: v for k, v in b.items() if k != "scale"} or len(a["scale"]) != len(b["scale"]):
            wrong.append(f"{name}: ours {a}\n    reference {b}")
            continue
        other += [f"{name}[{c}]: ours {x!r}, reference {y!r}, ratio {x / y:.6f}"
                  for c, (x, y) in enumerate(zip(a["scale"], b["scale"])) if abs(x - y) > 1e-6 * abs(y)]
    return wrong, other


def near_ties(case, file, golden):
    """What `seqmsed compare` says against the differences being near-ties."""
    flags = settings(case, [key for key in SEARCH if key != "param_bw"])
    model = ZOO / case["model"]
    try:
        common.seqmsed("compare", file, golden, "--model", f"{model}.onnx", "--calib", f"{model}.npz", *flags)
    except common.Failure as e:
        return [str(e)]
    return []


def against_reference(name, case, folder):
    golden = ZOO / "golden" / f"{name}.encodings"
    quantize(case, folder)
    wrong, other = differences(common.searched(folder), common.param_encodings(golden))
    said = near_ties(case, common.searched_file(folder), golden) if other and not wrong else []
    return wrong + (other + said if wrong or said else []), len(other)


# ---- by brute force --------------------------------------------------------------------------------------------------------


def full_range(w, bits):
    """A channel's (min, max, delta): the symmetric grid that just holds it."""
    top = 2 ** (bits - 1)
    delta = max(float(max(w.max(), 0)) / (top - 1), float(-min(w.min(), 0)) / top, min(2.0 ** -23, 0.01 / (2 * top - 1)))
    return -delta * top, delta * (top - 1), delta


def on_grid(w, delta, bits):
    """w rounded to the grid in single precision, halves up."""
    d, top = numpy.float32(delta), 2 ** (bits - 1)
    q = numpy.floor(w.astype(numpy.float32) / d + numpy.float32(0.5))
    return (d * numpy.clip(q, -top, top - 1)).astype(numpy.float32)


def candidates(w, bits, count):
    lo, hi, _ = full_range(w, bits)
    top = 2 ** (bits - 1)
    for i in range(count):
        m, M = (numpy.float32(numpy.float32(end) / numpy.float32(count)) * numpy.float32(i + 1) for end in (lo, hi))
        yield max(float(M) / (top - 1), float(-m) / top)


def search(x, w, bits, count):
    """The scale of every column of w that hurts x @ w least, and w on these grids."""
    rows, scales, out = x.reshape(-1, w.shape[0]).astype(float), [], numpy.empty_like(w)
    for c in range(w.shape[1]):
        best = None
        for delta in candidates(w[:, c], bits, count):
            loss = float(((rows @ (w[:, c].astype(float) - on_grid(w[:, c], delta, bits))) ** 2).sum())
            if best is None or loss < best[0]:
                best = (loss, delta)
        scales.append(best[1])
        out[:, c] = on_grid(w[:, c], best[1], bits)
    return scales, out


CHAINS = {"brute_exclude_first": ("-w1", "relu", "w2", "relu", "w3"), "brute_rejects_batch_1": ("w1", "relu", "w2"),
          "brute_rank_3_weight": ("w1", "relu", "-stack", "w2")}


def by_brute_force(case, folder):
    """A chain of layers; one with a minus stays float."""
    ours = common.searched(quantize(case, folder))
    weights = numpy.load(ZOO / f"{case['model']}.weights.npz")
    x, faults, expected = numpy.load(ZOO / f"{case['model']}.npz")["x"].astype(float), [], []
    for step in CHAINS[case["model"]]:
        if step == "relu":
            x = numpy.maximum(x, 0)
            continue
        w = weights[step.lstrip("-")]
        if not step.startswith("-"):
            expected.append(step)
            scales, w = search(x, w, case.get("param_bw", 4), case.get("num_candidates", 20))
            if not numpy.allclose(ours.get(step, {"scale": [0]})["scale"], scales, rtol=1e-6, atol=0):
                faults.append(f"{step}: ours {ours.get(step)}\n    expected {scales}")
        x = x @ w.astype(float)
    return faults + [f"{name} should not be there" for name in ours if name not in expected], 0


def main():
    cases = common.load(ZOO / "cases.json")
    failed = ties = 0
    names = sys.argv[1:] or sorted(cases)
    for name in names:
        case = cases[name]
        with tempfile.TemporaryDirectory() as tmp:
            try:
                brute = case.get("golden") == "brute"
                faults, others = by_brute_force(case, pathlib.Path(tmp) / "out") if brute else \
                    against_reference(name, case, pathlib.Path(tmp) / "out")
            except (common.Failure, OSError, KeyError, ValueError) as e:
                faults, others = [f"{type(e).__name__}: {e}"], 0
        failed += bool(faults)
        ties += others if not faults else 0
        if faults:
            print(f"FAILED {name}")
            for fault in faults[:20]:
                print(f"    {fault}")
        elif others:
            print(f"ok     {name}: {others} near-ties")
    print(f"zoo: {len(names)} cases, {ties} near-ties")
    print(f"golden: {len(names) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
