#!/usr/bin/env python3
"""The demo: a session with the daemon, as anyone would type it with curl, and what came of it.

    tests/demo.py [--seqmsed build/seqmsed] [--out build/demo] [--stay]      (`make demo` does it all)

It starts a daemon on a free port of the loopback with a state folder that goes away with it (--stay keeps the daemon until
Ctrl-C), uploads the sample model and its calibration data, submits a job, follows it, downloads the encodings, and compares with
a second job that does not search. The accuracies are computed here with ONNX Runtime's Python package (`make deps` puts it into build/deps/python).
"""
import argparse
import contextlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

import numpy

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it would prepare to send usage data as soon as it is loaded
import onnxruntime  # noqa: E402

DATA = "tests/data/digits"
BITS = 4
CANDIDATES = 20


# ---- the session ----


@contextlib.contextmanager
def daemon(seqmsed):
    """A daemon on a free port; gives its address."""
    with tempfile.TemporaryDirectory(prefix="seqmsed-demo-") as state:
        argv = [seqmsed, "serve", "--listen", "127.0.0.1:0", "--state-dir", state]
        print("$ " + shlex.join(argv) + " &")
        with open(os.path.join(state, "log"), "wb") as log:
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log)
        try:
            line = process.stdout.readline().decode().strip()
            if not line.startswith("listening on "):
                raise SystemExit("the daemon did not start:\n" + pathlib.Path(state, "log").read_text())
            print(line, flush=True)
            yield line.removeprefix("listening on ")
        finally:
            process.terminate()
            process.wait(timeout=15)


class Session:
    """Runs curl lines and shows them with $U for the daemon's address."""

    def __init__(self, address):
        self.address = address
        print(f"$ U={address}")

    def curl(self, *args):
        """Runs a line and returns what the daemon said."""
        print("\n$ curl " + " ".join(word if word.startswith('"$U') else shlex.quote(word) for word in args), flush=True)
        words = [word.strip('"').replace("$U", self.address) if word.startswith('"$U') else word for word in args]
        return subprocess.run(["curl", "-sS", "--fail-with-body", *words], check=True, stdout=subprocess.PIPE).stdout

    def ask(self, *args, show=()):
        """The same, for an answer in JSON; shows the given members of it."""
        answer = json.loads(self.curl(*args))
        print(json.dumps({key: answer[key] for key in show})[:-1] + (", …}" if len(answer) > len(show) else "}"))
        return answer

    def run_job(self, model, calibration, **params):
        body = {"model": model["id"], "calibration": calibration["id"], "params": {"param_bw": BITS, **params}}
        job = self.ask("--json", json.dumps(body), '"$U/v1/jobs"', show=("id", "status", "queue_position"))
        url = f'"$U/v1/jobs/{job["id"]}'
        while job["status"] not in ("succeeded", "failed", "canceled"):
            job = self.ask(url + '?wait=60"', show=("status", "progress", "usage"))
        if job["status"] != "succeeded":
            raise SystemExit(json.dumps(job["error"], indent=2))
        return url

    def fetch(self, url, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.curl("-o", str(path), url)
        return path


def session(address, out):
    """Uploads, searches with 20 candidates and with one; returns the report and the two models."""
    s = Session(address)
    model = s.ask("-T", f"{DATA}/model.onnx", '"$U/v1/models?name=digits"', show=("id", "inputs", "layers"))
    calibration = s.ask("-T", f"{DATA}/calib.npz", f'"$U/v1/calibrations?model={model["id"]}"', show=("id", "arrays", "samples"))
    job = s.run_job(model, calibration)
    s.fetch(job + '/encodings?version=1.0.0"', out / "model.encodings")
    report = s.fetch(job + '/artifacts/report.json"', out / "report.json")
    searched = s.fetch(job + '/artifacts/model_weights_quantized.onnx"', out / "model_weights_quantized.onnx")
    print("\nAnd the same with one candidate, that is without a search, every range from the weights' minimum to their maximum:")
    plain = s.run_job(model, calibration, num_candidates=1)
    full = s.fetch(plain + '/artifacts/model_weights_quantized.onnx"', out / "minmax" / "model_weights_quantized.onnx")
    return json.loads(report.read_text()), full, searched


# ---- what came of it ----


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


def logits(model, data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    runtime = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return runtime.run(None, {i.name: data[i.name] for i in runtime.get_inputs()})[0].astype(numpy.float64)


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


def stay(address):
    print(f"\nThe daemon stays at {address} until you press Ctrl-C. In another terminal: U={address}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            input()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seqmsed", default="build/seqmsed")
    ap.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/demo"))
    ap.add_argument("--stay", action="store_true")
    args = ap.parse_args()

    sys.stdout.reconfigure(errors="replace")
    print("Quantizing the weights of a small network that reads handwritten digits to 4 bits, through the daemon:\n")
    with daemon(args.seqmsed) as address:
        report, full, searched = session(address, args.out)
        show_layers(report)
        show_histogram(report)
        show_accuracy([("float32 weights", f"{DATA}/model.onnx"), (f"{BITS}-bit weights, full range", full),
                       (f"{BITS}-bit weights, searched", searched)])
        if args.stay:
            stay(address)
    print(f"\nIn {args.out}: model.encodings is the product, report.json what you saw here. The daemon has ended.")
    print("Without a daemon the same is:\n\n"
          f"$ {args.seqmsed} quantize {DATA}/model.onnx {DATA}/calib.npz -o {args.out} --param-bw {BITS}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} ended with status {error.returncode}: {(error.stdout or b'').decode()}")
