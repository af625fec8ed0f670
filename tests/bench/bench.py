#!/usr/bin/env python3
"""Seconds, passes and memory of the search, on real models.

    tests/bench/bench.py [--threads T] [--seqmsed build/seqmsed] [--json FILE] [MODEL ...]       (`make bench BENCH='...'`)

$SEQMSED_SHARED (default ../shared) holds models/MODEL/model.onnx with calib.npz; $SEQMSED_MODELS may name another such folder for
models that are not there. The columns:

    search   seconds of our whole run, from report.json: loading the model included; process: wall-clock seconds of the command
    pass     one float32 pass of ONNX Runtime over the same samples: default options, the same threads and batch, best of 3, in
             a process of its own, right after our search
    passes   search divided by pass: the unit in which searches can be compared across machines
    peak     resident memory of our process at its largest
    factor   the reference's search seconds divided by ours, where SEQMSED_REFERENCE_PYTHON=/path/to/python names a Python that
             can import aimet_onnx: $SEQMSED_SHARED/reference/golden.py runs there with equal threads and batches

Figures of one run belong together: machines differ, and a busy machine differs from itself. Compare within a table only.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("SEQMSED_SHARED", TOP.parent / "shared"))
REFERENCE = os.environ.get("SEQMSED_REFERENCE_PYTHON")

# One float32 pass, in a process of its own: model, data, batch size, batches, threads -> best seconds.
PASS = """
import os, sys, time
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it would prepare to send usage data as soon as it is loaded
import numpy, onnxruntime
model, calib, size, batches, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
data = numpy.load(calib)
arrays = {i.name: data[i.name] for i in session.get_inputs()}
feeds = [{k: numpy.ascontiguousarray(a[b * size:(b + 1) * size]) for k, a in arrays.items()} for b in range(batches)]
best = float("inf")
for _ in range(3):
    start = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    best = min(best, time.perf_counter() - start)
print(best)
"""


def run(argv):
    """Returns (stdout, wall-clock seconds, peak resident bytes); ends the bench's row when the program fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {err.read().decode(errors='replace')[-500:].strip()}")
        return out.read().decode(errors="replace"), seconds, usage.ru_maxrss * 1024


def settings(model):
    """Batch size and number of batches: those of the reference's run of this model, where there is one."""
    meta = SHARED / "reference/golden" / model / "meta.json"
    if meta.exists():
        meta = json.loads(meta.read_text())
        return meta["batch_size"], meta["num_batches"]
    return 32, None


def find(name, file):
    for root in (SHARED / "models", os.environ.get("SEQMSED_MODELS")):
        if root and (pathlib.Path(root) / name / file).exists():
            return pathlib.Path(root) / name / file
    return None


def measure(args, name, tmp):
    model, calib = find(name, "model.onnx"), find(name, "calib.npz")
    if not model or not calib:
        raise RuntimeError("no model.onnx or calib.npz")
    size, batches = settings(name)
    argv = [args.seqmsed, "quantize", model, calib, "-o", tmp, "--quiet", "--param-bw", args.param_bw, "--num-candidates",
            args.num_candidates, "--threads", args.threads, "--batch-size", size]
    _, wall, peak = run(argv + (["--num-batches", batches] if batches else []))
    report = json.loads((pathlib.Path(tmp) / "report.json").read_text())
    out, _, _ = run([sys.executable, "-c", PASS, model, calib, size, report["batches"], args.threads])
    row = {"model": name, "samples": report["samples_used"], "batch_size": size, "layers": len(report["layers"]),
           "channels": sum(layer["channels"] for layer in report["layers"]), "seconds": report["seconds"],
           "search": report["seconds"]["total"], "process": wall, "pass": float(out.split()[-1]), "peak_bytes": peak}
    row["passes"] = row["search"] / row["pass"]
    if REFERENCE:
        fixed = find(name, "model_fixdims.onnx")  # what the reference can read of a model that it refuses
        out, _, ref_peak = run([REFERENCE, SHARED / "reference/golden.py", "--model", fixed or model, "--calib", calib,
                                "--batch-size", size, "--num-batches", batches or report["samples_used"] // size, "--param-bw",
                                args.param_bw, "--candidates", args.num_candidates, "--threads", args.threads,
                                "--out", pathlib.Path(tmp) / "reference"])
        row["reference_search"] = json.loads(out.splitlines()[-1])["seconds"]["seq_mse"]
        row["reference_peak_bytes"] = ref_peak
        row["factor"] = row["reference_search"] / row["search"]
    return row


def line(row):
    text = (f"{row['model']:<20}{row['samples']:>8}{row['layers']:>7}{row['search']:>9.2f}{row['process']:>9.2f}{row['pass']:>9.3f}"
            f"{row['passes']:>8.1f}{row['peak_bytes'] / 2**20:>8.0f} MiB")
    if "factor" in row:
        text += f"{row['reference_search']:>11.1f}{row['reference_peak_bytes'] / 2**20:>8.0f} MiB{row['factor']:>8.1f}x"
    return text


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("models", nargs="*", help="folders of models; all by default")
    ap.add_argument("--seqmsed", default=str(TOP / "build/seqmsed"))
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--param-bw", type=int, default=4)
    ap.add_argument("--num-candidates", type=int, default=20)
    ap.add_argument("--json", type=pathlib.Path, default=TOP / "build/bench.json", help="where the figures go")
    args = ap.parse_args()

    if not (SHARED / "models").is_dir():
        print(f"no {SHARED / 'models'}: set SEQMSED_SHARED")
        return 0
    names = args.models or sorted(p.name for p in (SHARED / "models").iterdir() if p.is_dir())
    print(f"{args.threads} threads, {args.param_bw} bits, {args.num_candidates} candidates; seconds")
    print(f"{'model':<20}{'samples':>8}{'layers':>7}{'search':>9}{'process':>9}{'pass':>9}{'passes':>8}{'peak':>12}"
          + (f"{'reference':>11}{'its peak':>12}{'factor':>9}" if REFERENCE else ""))
    rows, failed = [], 0
    for name in names:
        with tempfile.TemporaryDirectory() as tmp:
            try:
                rows.append(measure(args, name, tmp))
                print(line(rows[-1]), flush=True)
            except (RuntimeError, OSError, KeyError, ValueError) as e:
                failed += 1
                print(f"{name:<20}failed: {e}", flush=True)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps({"threads": args.threads, "param_bw": args.param_bw, "num_candidates": args.num_candidates,
                                     "load_average": os.getloadavg(), "models": rows}, indent=2) + "\n")
    print(f"figures: {args.json}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
