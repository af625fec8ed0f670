#!/usr/bin/env python3
"""Which tensors are quantized, and how: our rules against the reference's runs over real models.

    tests/golden/placement.py [NAME ...]

`seqmsed inspect --quantizers` must list the same quantizers in the same order, with the same state, width, symmetry, granularity, axes and
sharers, as the reference had in reference/examples/tiny_* and reference/golden/* of $SEQMSED_SHARED (default ../shared). The small
models of tests/data/placement are tests/unit/test_quantsim.c's.

Ends with `golden: N passed, N failed, N skipped`.
"""
import gzip
import json
import os
import pathlib
import sys

import common

SHARED = pathlib.Path(os.environ.get("SEQMSED_SHARED", common.TOP.parent / "shared"))
MODELS = [pathlib.Path(p) for p in (SHARED / "models", os.environ.get("SEQMSED_MODELS"), common.TOP / "build/models") if p]
FACTS = ("enabled", "param", "bitwidth", "symmetric", "type", "channel_axis", "block", "shared_with")


class Skip(Exception):
    pass


def ours(model, *options):
    listing = json.loads(common.seqmsed("inspect", model, "--quantizers", *options))
    return {q.pop("name"): q for q in listing["quantizers"]}


def differences(mine, theirs, facts=FACTS):
    """What differs, in words; [] where nothing does."""
    if list(mine) != list(theirs):
        return [f"only ours: {sorted(set(mine) - set(theirs))}", f"only theirs: {sorted(set(theirs) - set(mine))}",
                f"order: {[n for n in mine if n in theirs][:40]} for {[n for n in theirs if n in mine][:40]}"]
    return [f"{name}: {fact} is {mine[name][fact]}, theirs {theirs[name][fact]}" for name in theirs for fact in facts
            if mine[name][fact] != theirs[name][fact]]


def find(relative):
    for root in MODELS:
        if (root / relative).exists():
            return root / relative
    raise Skip(f"no {relative}")


def options_of(args):
    """The command line that asks for what golden.py was called with."""
    config = args["config"] and ("per-tensor" if "default_config.json" in args["config"] else args["config"])
    options = ["--param-bw", args["param_bw"], "--config", config or "default"]
    options += ["--output-float16"] if args["act_bw"] == "float16" else ["--output-bw", args["act_bw"]]
    if args["block_size"]:
        options += ["--block-size", args["block_size"], "--block-ops", args["bq_op_types"]] + (["--lpbq"] if args["lpbq"] else [])
    return options


def cases():
    """(name, function that returns differences)"""
    examples = SHARED / "reference/examples"
    for folder in sorted(p for p in examples.glob("tiny_*") if (p / "quantizers.json").exists()):
        args = json.loads((folder / "timings.json").read_text())["args"]
        theirs = json.loads((folder / "quantizers.json").read_text())
        yield folder.name, lambda args=args, theirs=theirs: differences(ours(examples / "tiny.onnx", *options_of(args)), theirs)
    for folder in sorted(p for p in (SHARED / "reference/golden").glob("*") if (p / "quantizers.json.gz").exists()):
        args = json.loads((folder / "meta.json").read_text())["args"]
        with gzip.open(folder / "quantizers.json.gz") as f:
            theirs = json.load(f)
        yield folder.name, lambda args=args, theirs=theirs: differences(ours(find(args["model"]), *options_of(args)), theirs)


def main():
    wanted = sys.argv[1:]
    passed, failed, skipped = 0, 0, 0
    for name, check in cases():
        if wanted and name not in wanted:
            continue
        try:
            wrong = check()
        except Skip as e:
            print(f"{name}: skipped, {e}")
            skipped += 1
            continue
        except common.Failure as e:
            wrong = [str(e)]
        passed, failed = passed + (not wrong), failed + bool(wrong)
        if wrong:
            print(f"{name}: {len(wrong)} differences\n  " + "\n  ".join(wrong[:20]))
    print(f"golden: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
