"""What goes out with the program: Dockerfile and compose file as linters see them, the bill of materials."""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from conftest import SEQMSED, TOP

TOOLS = TOP / "build/deps/package"


@pytest.fixture(autouse=True)
def tools():
    if not TOOLS.is_dir():
        pytest.skip("needs make deps-dev")


def hadolint(*argv, **options):
    return subprocess.run([TOOLS / "bin/hadolint", "--no-color", *argv], capture_output=True, text=True, timeout=60, check=False, **options)


def test_dockerfile():
    done = hadolint(TOP / "docker/Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    assert "DL3002" in hadolint("-", input="FROM debian:bookworm-slim\nUSER root\n").stdout  # it can fail


def test_compose():
    program = "import compose_spec, sys; print(compose_spec.PyCompose.from_yaml(sys.stdin.read()).to_json())"

    def read(text):
        return subprocess.run([sys.executable, "-c", program], input=text, env=dict(os.environ, PYTHONPATH=str(TOOLS)), capture_output=True, text=True, timeout=60,
                              check=False)
    text = (TOP / "docker/compose.yaml").read_text()
    done = read(text)
    assert done.returncode == 0, done.stderr
    service = json.loads(done.stdout)["services"]["seqmsed"]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["image"] == "seqmsed:" + re.search(r"^VERSION := (\S+)", (TOP / "Makefile").read_text(), re.M)[1]
    assert read(text.replace("read_only: true", "read_only: [1]")).returncode != 0  # it can fail


def test_versions_agree():
    version = re.search(r"^VERSION := (\S+)", (TOP / "Makefile").read_text(), re.M)[1]
    assert f"seqmsed ({version}-1)" in (TOP / "docker/debian/changelog").read_text()
    assert f"## {version}" in (TOP / "CHANGELOG.md").read_text()


def test_bill_of_materials(tmp_path):
    if pathlib.Path(SEQMSED).resolve() != (TOP / "build/seqmsed").resolve():
        pytest.skip("the release is what is shipped")
    done = subprocess.run([sys.executable, TOP / "docker/sbom.py", SEQMSED, tmp_path / "sbom.json"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "valid CycloneDX" in done.stdout, done.stdout + done.stderr
    bom = json.loads((tmp_path / "sbom.json").read_text())
    files = {p["value"] for c in bom["components"] for p in c.get("properties", []) if p["name"] == "seqmsed:loaded"}
    linked = re.findall(r"=> (/\S+)", subprocess.run(["ldd", SEQMSED], capture_output=True, text=True, check=True).stdout)
    assert {str(pathlib.Path(f).resolve()) for f in linked} <= files
    names = {c["name"] for c in bom["components"]}
    assert {"onnxruntime", "libcurl4", "libonnx-dev"} <= names and any("openblas" in n for n in names)  # what is opened, and compiled in
    assert all(c["version"] and c["licenses"] and c["purl"] for c in bom["components"])
