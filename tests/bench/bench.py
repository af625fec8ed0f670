#!/usr/bin/env python3
"""Seconds, passes and memory of the search, on real models.

    tests/bench/bench.py [--threads T] [--seqmsed build/seqmsed] [--json FILE] [MODEL ...]       (`make bench BENCH='...'`)

$SEQMSED_SHARED (default ../shared) holds models/MODEL/model.onnx with calib.npz; $SEQMSED_MODELS may name another such folder for
models that are not there. A MODEL with a number of samples, as in resnet18-128, is one that shapes.py makes: mobilenetv2, resnet18,
resnet50. Without models the bench takes all real ones and two with 32 samples; `--all` also 128, 512 and 1024, resnet50, and at 128
samples other settings: candidates, losses, inputs, blocks, threads. The columns:

    search   seconds of our search, from report.json: reading the data included; of which graph: ONNX Runtime; gram: the inputs'
             statistics; ask: the candidates' losses
    rest     of our run: loading the model, the activations' encodings
    pass     one float32 pass of ONNX Runtime over the same samples: default options, the same threads and batch, best of 3, in
             a process of its own, right after our search
    passes   search divided by pass: the unit in which searches can be compared across machines
    cpu      the same of processor seconds, user and system: the figure to trust where others use the machine too
    peak     resident memory of our process at its largest
    guess    what `--dry-run` said just before: seconds of the whole run and memory, each divided by what they were. 1 is right; the goal is
             2/3 to 3/2, on a machine that does nothing else
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

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("SEQMSED_SHARED", TOP.parent / "shared"))
REFERENCE = os.environ.get("SEQMSED_REFERENCE_PYTHON")

# One float32 pass, in a process of its own: model, data, batch size, batches, threads -> best seconds, best processor seconds.
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
best = cpu = float("inf")
for _ in range(3):
    start, start_cpu = time.perf_counter(), time.process_time()
    for feed in feeds:
        session.run(None, feed)
    best, cpu = min(best, time.perf_counter() - start), min(cpu, time.process_time() - start_cpu)
print(best, cpu)
"""


def run(argv):
    """Returns (stdout, peak resident bytes); ends the bench's row when the program fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {err.read().decode(errors='replace')[-500:].strip()}")
        return out.read().decode(errors="replace"), usage.ru_maxrss * 1024


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


def shaped(name, folder):
    """Makes a model of shapes.py, in a folder that all rows share; returns the model and its data."""
    model, samples = name.rsplit("-", 1)
    out = pathlib.Path(folder) / name
    if not out.exists():
        run([sys.executable, TOP / "tests/bench/shapes.py", model, samples, out])
    return out / "model.onnx", out / "calib.npz"


def is_shaped(name):
    return "-" in name and name.rsplit("-", 1)[1].isdigit()


def measure(args, name, tmp, made, options=()):
    """One row. options go to our command line; they change the search, not the pass."""
    model, calib = shaped(name, made) if is_shaped(name) else (find(name, "model.onnx"), find(name, "calib.npz"))
    if not model or not calib:
        raise RuntimeError("no model.onnx or calib.npz")
    size, batches = settings(name)
    threads = dict(zip(options[::2], options[1::2])).get("--threads", args.threads)
    argv = [args.seqmsed, "quantize", model, calib, "-o", tmp, "--quiet", "--param-bw", args.param_bw, "--batch-size", size]
    for option, value in (("--threads", threads), ("--num-candidates", args.num_candidates), ("--num-batches", batches)):
        argv += [option, value] if value and option not in options else []
    guess = json.loads(run(argv + [*options, "--dry-run", "--json"])[0])["estimate"]
    _, peak = run(argv + list(options))
    report = json.loads((pathlib.Path(tmp) / "report.json").read_text())
    out, _ = run([sys.executable, "-c", PASS, model, calib, size, report["batches"], threads])
    passes, passes_cpu = (float(x) for x in out.split()[-2:])
    row = {"model": name, "options": list(options), "samples": report["samples_used"], "batch_size": size, "layers": len(report["layers"]),
           "channels": sum(layer["channels"] for layer in report["layers"]), "seconds": report["seconds"],
           "strategies": {s: sum(layer["strategy"] == s for layer in report["layers"]) for s in ("gram", "direct")},
           "search": report["seconds"]["search_total"], "cpu_seconds": report["seconds"]["search_cpu"], "pass": passes, "pass_cpu_seconds": passes_cpu,
           "spilled_bytes": report["spilled_bytes"], "peak_bytes": peak,
           "estimate": guess, "predicted_seconds": report["predicted_seconds"],
           "guess": guess["seconds"] / report["seconds"]["total"], "memory_guess": guess["peak_bytes"] / peak}
    row["passes"] = row["search"] / row["pass"]
    row["cpu_passes"] = row["cpu_seconds"] / passes_cpu
    if REFERENCE and not options:
        fixed = find(name, "model_fixdims.onnx")  # what the reference can read of a model that it refuses
        out, ref_peak = run([REFERENCE, SHARED / "reference/golden.py", "--model", fixed or model, "--calib", calib,
                                "--batch-size", size, "--num-batches", batches or report["samples_used"] // size, "--param-bw",
                                args.param_bw, "--candidates", args.num_candidates, "--threads", args.threads,
                                "--out", pathlib.Path(tmp) / "reference"])
        row["reference_search"] = json.loads(out.splitlines()[-1])["seconds"]["seq_mse"]
        row["reference_peak_bytes"] = ref_peak
        row["factor"] = row["reference_search"] / row["search"]
    return row


def line(row):
    s = row["seconds"]
    name = " ".join([row["model"], *(str(o).removeprefix("--") for o in row["options"])])
    text = (f"{name:<44}{row['layers']:>7}{row['search']:>9.2f}{s['graph']:>8.2f}{s['gram']:>8.2f}{s['search'] + s['recheck']:>8.2f}"
            f"{s['total'] - row['search']:>8.2f}{row['pass']:>9.3f}{row['passes']:>8.1f}{row['cpu_passes']:>8.1f}{row['peak_bytes'] / 2**20:>8.0f} MiB"
            f"{row['guess']:>8.2f}{row['memory_guess']:>6.2f}")
    if "factor" in row:
        text += f"{row['reference_search']:>11.1f}{row['reference_peak_bytes'] / 2**20:>8.0f} MiB{row['factor']:>8.1f}x"
    return text


HEADER = (f"{'model':<44}{'layers':>7}{'search':>9}{'graph':>8}{'gram':>8}{'ask':>8}{'rest':>8}{'pass':>9}{'passes':>8}{'cpu':>8}{'peak':>12}{'guess':>14}"
          + (f"{'reference':>11}{'its peak':>12}{'factor':>9}" if REFERENCE else ""))

# At 128 samples, each against the default settings.
VARIATIONS = [("--num-candidates", 50), ("--num-candidates", 100), ("--num-candidates", 1000), ("--loss-fn", "l1"), ("--loss-fn", "sqnr"),
              ("--inp-symmetry", "asym"), ("--granularity", "block", "--block-size", 16), ("--threads", 1)]


def rows_of(args):
    """(model, options) of every row."""
    real = sorted(p.name for p in (SHARED / "models").iterdir() if p.is_dir()) if (SHARED / "models").is_dir() else []
    if args.models:
        return [(m, ()) for m in args.models]
    rows = [(m, ()) for m in real + ["mobilenetv2-32", "resnet18-32"]]
    if args.all:
        rows += [(f"{m}-{n}", ()) for n in (128, 512, 1024) for m in ("mobilenetv2", "resnet18")]
        rows += [(f"resnet50-{n}", ()) for n in (32, 128)]
        rows += [(f"{m}-128", v) for m in ("mobilenetv2", "resnet18") for v in VARIATIONS]
        rows += [("mobilenetv2-1024", ("--max-memory-bytes", "1G"))]
    return rows


def kernels(program):
    """Speed of the kernels against sgemm; prints a table, returns the rows."""
    out, _ = run([program])
    rows = [json.loads(text) for text in out.splitlines()]
    print(f"\n{'kernel':<12}{'shape':<50}{'GFLOP/s':>9}{'of sgemm':>10}")
    for r in rows:
        print(f"{r['kernel']:<12}{r['shape']:<50}{r['gflops']:>9.1f}{r['share']:>10.2f}")
    return rows


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("models", nargs="*", help="folders of models, or names of shapes.py with a number of samples")
    ap.add_argument("--all", action="store_true", help="everything; takes an hour")
    ap.add_argument("--seqmsed", default=str(TOP / "build/seqmsed"))
    ap.add_argument("--kernels", help="build/bench/kernels, to be run as well")
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--param-bw", type=int, default=4)
    ap.add_argument("--num-candidates", type=int, default=20)
    ap.add_argument("--json", type=pathlib.Path, default=TOP / "build/bench.json", help="where the figures go")
    args = ap.parse_args()

    print(f"{args.threads} threads, {args.param_bw} bits, {args.num_candidates} candidates; seconds\n{HEADER}")
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as made:
        for name, options in rows_of(args):
            with tempfile.TemporaryDirectory() as tmp:
                try:
                    rows.append(measure(args, name, tmp, made, options))
                    print(line(rows[-1]), flush=True)
                except (RuntimeError, OSError, KeyError, ValueError) as e:
                    failed += 1
                    print(f"{name:<44}failed: {e}", flush=True)
    figures = {"threads": args.threads, "param_bw": args.param_bw, "num_candidates": args.num_candidates,
               "load_average": os.getloadavg(), "models": rows, "kernels": kernels(args.kernels) if args.kernels else []}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"figures: {args.json}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
