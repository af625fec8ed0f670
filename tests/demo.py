#!/usr/bin/env python3
"""The demo: quantizes the sample's weights to 4 bits and shows what was chosen and what it does to the accuracy.

    tests/demo.py [--seqmsed build/seqmsed] [--out build/demo]      (`make demo` does it all)

The accuracies are computed here with ONNX Runtime's Python package (`make deps` puts it into build/deps/python): the float
model, and the model whose weights were replaced by what 4-bit weights can express.
"""
import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

import numpy

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it would prepare to send usage data as soon as it is loaded
import onnxruntime  # noqa: E402

DATA = "tests/data/digits"
BITS = 4
CANDIDATES = 20


def quantize(seqmsed, out, *flags):
    """Runs the command as a user would type it, and shows it."""
    argv = [seqmsed, "quantize", f"{DATA}/model.onnx", f"{DATA}/calib.npz", "-o", str(out), "--param-bw", str(BITS), *flags]
    print("$ " + shlex.join(argv), flush=True)
    subprocess.run(argv, check=True)
    return json.loads((out / "report.json").read_text())


def logits(model, data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: data[i.name] for i in session.get_inputs()})[0].astype(numpy.float64)


def show_layers(report):
    print(f"\n{'layer':<12}{'type':<7}{'channels':>8}{'error':>8}   candidates chosen, 1 to {CANDIDATES} (of the weights' full range)")
    for layer in report["layers"]:
        loss, full = sum(layer["loss"]), sum(layer["minmax_loss"])
        left = f"{100 * loss / full:.0f} %" if full else "-"
        print(f"{layer['node']:<12}{layer['op_type']:<7}{layer['channels']:>8}{left:>8}   {sketch(layer['chosen'])}")
    print("error: the squared error of the layer's output that is left, compared with using the full range")


def sketch(chosen):
    """A histogram in one line: how many channels chose which candidate."""
    counts = numpy.bincount(chosen, minlength=CANDIDATES)
    levels = " ▁▂▃▄▅▆▇█"
    top = counts.max()
    return "|" + "".join(levels[-(-8 * int(n) // int(top))] for n in counts) + "|"


def show_histogram(report):
    counts = numpy.bincount(sum((layer["chosen"] for layer in report["layers"]), []), minlength=CANDIDATES)
    print(f"\nall {counts.sum()} channels: the part of its full range that each one's 4-bit grid now covers")
    for i, n in enumerate(counts):
        if n:
            print(f"  {(i + 1) / CANDIDATES:>5.0%} {'#' * int(n):<40} {n}")


def show_accuracy(models):
    data = numpy.load(f"{DATA}/eval.npz")
    print(f"\n{'on ' + str(len(data['label'])) + ' images never seen':<34}{'top-1':>8}{'SQNR of the logits':>22}")
    reference = None
    for title, model in models:
        out = logits(model, data)
        top1 = (out.argmax(1) == data["label"]).mean()
        if reference is None:
            reference, decibels = out, ""
        else:
            decibels = f"{10 * numpy.log10((reference ** 2).sum() / ((out - reference) ** 2).sum()):.1f} dB"
        print(f"{title:<34}{top1:>8.2%}{decibels:>22}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seqmsed", default="build/seqmsed")
    ap.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/demo"))
    args = ap.parse_args()

    sys.stdout.reconfigure(errors="replace")
    print("Quantizing the weights of a small network that reads handwritten digits:\n")
    report = quantize(args.seqmsed, args.out)
    show_layers(report)
    show_histogram(report)

    print("\nThe same with one candidate, that is without a search, every range from the weights' minimum to their maximum:\n")
    plain = args.out / "minmax"
    quantize(args.seqmsed, plain, "--num-candidates", "1", "--quiet")
    show_accuracy([("float32 weights", f"{DATA}/model.onnx"),
                   (f"{BITS}-bit weights, full range", plain / "model_weights_quantized.onnx"),
                   (f"{BITS}-bit weights, searched", args.out / "model_weights_quantized.onnx")])
    print(f"\nIn {args.out}: model.encodings is the product, report.json what you saw here.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} ended with status {error.returncode}")
