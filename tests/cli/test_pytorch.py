"""The Python of core/PYTORCH.md, from top to bottom, as a reader would paste it."""
import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import SEQMSED, TOP

PYTHON = os.environ.get("SEQMSED_TORCH_PYTHON") or os.environ.get("SEQMSED_REFERENCE_PYTHON") or sys.executable


@pytest.fixture(name="python", scope="module")
def fixture_python():
    """A Python with what the document needs; SEQMSED_TORCH_PYTHON says where one is."""
    done = subprocess.run([PYTHON, "-c", "import torch, onnx, onnxruntime"], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"{PYTHON} lacks torch, onnx or onnxruntime ({done.stderr.strip().splitlines()[-1]}); SEQMSED_TORCH_PYTHON may name one that has them")
    return PYTHON


def test_the_whole_way(python, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", (TOP / "core/PYTORCH.md").read_text(), re.M | re.S)
    assert len(blocks) == 5
    (tmp_path / "build").mkdir()
    (tmp_path / "build/seqmsed").symlink_to(shutil.which(SEQMSED))
    (tmp_path / "all.py").write_text("\n".join(blocks))
    done = subprocess.run([python, "all.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    decibels = float(re.search(r"quantized logits: ([-0-9.]+) dB", done.stdout)[1])
    assert decibels > 10, done.stdout
    layers = re.findall(r"^(\S+): 4 bits, (\d+) channels, largest rounding or clipping error (\S+)$", done.stdout, re.M)
    assert [int(n) for _, n, _ in layers] == [16, 16, 10] and all(0 < float(error) < 1 for _, _, error in layers), done.stdout
