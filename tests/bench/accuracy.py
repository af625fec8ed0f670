#!/usr/bin/env python3
"""What accuracy is left, on real models.

    tests/bench/accuracy.py [--bits 3,4,8] [--output-bw 8] [--seqmsed build/seqmsed] [MODEL ...]       (`make accuracy ACCURACY='...'`)

$SEQMSED_SHARED (default ../shared) holds models/MODEL/ with model.onnx, calib.npz and eval.npz; $SEQMSED_MODELS may name another such
folder for model.onnx. Each line is one run of `seqmsed quantize --eval`; its columns are the share of right answers (R@1 where labels are
pairs; agreement with the float model where there are none) and the SQNR in decibels of the output, for

    fp32        the float model
    minmax      weights on grids of their full range, alone / with activations
    searched    weights as Sequential MSE found them, alone / with activations
    guard       the same with guard=fallback: layers that the search made worse keep the full range

Evaluation sets are small: look at the decibels. In a last column stands how many layers have a larger error than with their full range; it has
to be 0.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("SEQMSED_SHARED", TOP.parent / "shared"))

# model: (batch size, settings of the runs beside the bits)
MODELS = {
    "digits_cnn": (64, [[]]),
    "mnist_resnet": (64, [[]]),
    "doc_orientation": (16, [[]]),
    "ppocr_cls": (32, [[]]),
    "efficientnet_lite0": (16, [[]]),
    "minilm_l3": (32, [["--evaluate", '{"output":"461"}'],
                       ["--evaluate", '{"output":"461"}', "--degenerate-ranges", "off"],
                       ["--evaluate", '{"output":"461"}', "--degenerate-ranges", "off", "--quant-scheme", "percentile", "--percentile", "99.99"]]),
}


def find(name, file):
    for root in (SHARED / "models", os.environ.get("SEQMSED_MODELS")):
        if root and (pathlib.Path(root) / name / file).exists():
            return pathlib.Path(root) / name / file
    raise FileNotFoundError(f"{name}/{file}")


def run(args, name, size, bits, extra):
    """The report of one run."""
    with tempfile.TemporaryDirectory(prefix="accuracy-") as tmp:
        argv = [args.seqmsed, "quantize", find(name, "model.onnx"), find(name, "calib.npz"), "-o", tmp, "--quiet", "--param-bw", bits,
                "--output-bw", args.output_bw, "--batch-size", size, "--eval", find(name, "eval.npz"), *extra]
        subprocess.run([str(a) for a in argv], check=True, stdin=subprocess.DEVNULL)
        return json.loads((pathlib.Path(tmp) / "report.json").read_text())


def cell(row, output):
    share = next((row[k] for k in ("accuracy", "retrieval", "agreement") if row[k] is not None), None)
    decibels = next((o["sqnr_db"] for o in row["outputs"] if o["name"] == output), None)
    return f"{share:.3f}" + ("" if decibels is None else f" {decibels:.1f}")


def judged(report):
    """The output that the table is about: the one that was asked for, or the only or first one."""
    wanted = (report["params"].get("evaluate") or {}).get("output")
    return wanted or report["accuracy"][0]["outputs"][0]["name"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seqmsed", default=str(TOP / "build/seqmsed"))
    parser.add_argument("--bits", default="3,4,8")
    parser.add_argument("--output-bw", default="8")
    parser.add_argument("models", nargs="*", default=list(MODELS))
    args = parser.parse_args()
    print("| model | bits | fp32 | minmax | minmax, act. | searched | searched, act. | guard | guard, act. | worse layers |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    failed = 0
    for name in args.models:
        size, settings = MODELS.get(name, (32, [[]]))
        for extra in settings:
            for bits in args.bits.split(","):
                plain, guarded = (run(args, name, size, bits, [*extra, "--guard", guard]) for guard in ("off", "fallback"))
                output = judged(plain)
                cells = [cell(row, output) for row in plain["accuracy"]] + [cell(row, output) for row in guarded["accuracy"][3:]]
                worse = sum(sum(layer["loss"]) > sum(layer["minmax_loss"]) for layer in plain["layers"])
                failed += worse
                label = name + (", ranges off" if "--degenerate-ranges" in extra else "")
                print(f"| {label} | {bits} | " + " | ".join(cells) + f" | {worse} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
