"""`make install` into a folder of its own: what is there works without the checkout, and `make uninstall` takes all of it away."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import SEQMSED, TOP

DIGITS = TOP / "tests/data/digits"


def make(target, prefix, *more):
    """Installs what was built, and builds nothing: -o keeps make from comparing its flags with those of this process."""
    done = subprocess.run(["make", "-s", "-o", "all", "-o", "build/flags", target, f"PREFIX={prefix}", *more], cwd=TOP, capture_output=True,
                          text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(name="prefix", scope="module")
def fixture_prefix(tmp_path_factory):
    if pathlib.Path(SEQMSED).resolve() != (TOP / "build/seqmsed").resolve():
        pytest.skip("the release is what is installed")
    prefix = tmp_path_factory.mktemp("install") / "usr"
    make("install", prefix)
    return prefix


def alone(program, *argv, **options):
    """Runs a program without this shell's settings, so that it finds its libraries by itself."""
    return subprocess.run([program, *argv], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=300, check=False, **options)


def test_the_program_finds_its_libraries(prefix, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(prefix, moved, symlinks=True)
    done = alone(moved / "bin/seqmsed", "quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", tmp_path / "out", "--quiet")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/model.encodings").stat().st_size > 1000
    loaded = alone("env", "LD_DEBUG=libs", moved / "bin/seqmsed", "version").stderr
    runtime = re.search(r"calling init: (.*libonnxruntime.*)", loaded)[1]
    if (prefix / "lib/seqmsed").exists():
        assert pathlib.Path(runtime).resolve() == moved / "lib/seqmsed/libonnxruntime.so.1"


def test_readmes_c_program_runs_a_search(prefix, tmp_path):
    readme = (TOP / "README.md").read_text()
    source = re.search(r"```c\n(.*?)```", readme, re.S)[1]
    (tmp_path / "search.c").write_text(source)
    env = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))
    build = re.search(r"^(cc search\.c .*)$", readme, re.M)[1]
    done = subprocess.run(["sh", "-ec", build.replace("cc ", "cc -Wall -Werror ", 1)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    done = alone(tmp_path / "search", DIGITS / "model.onnx", DIGITS / "calib.npz")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6, done.stdout
    done = alone(tmp_path / "search", "/nowhere.onnx", DIGITS / "calib.npz")
    assert done.returncode == 1 and "/nowhere.onnx" in done.stderr


def test_headers_stand_alone(prefix, tmp_path):
    """Whoever includes one of the doors needs no other header."""
    for name in ("core/search/seqmse.h", "core/workflow/quantize.h", "core/onnx/onnx_model.h"):
        (tmp_path / "one.c").write_text(f"#include <{name}>\nint nothing;\n")
        done = alone("gcc", "-std=c17", "-Wall", "-Werror", f"-I{prefix}/include/seqmse", "-c", tmp_path / "one.c", "-o", tmp_path / "one.o")
        assert done.returncode == 0, done.stderr


def test_the_unit_names_the_installed_program(prefix):
    unit = (prefix / "lib/systemd/system/seqmsed.service").read_text()
    assert f"ExecStart={prefix}/bin/seqmsed serve" in unit


def test_uninstall_leaves_nothing(prefix, tmp_path):
    shutil.copytree(prefix, tmp_path / "stage" / prefix.relative_to("/"), symlinks=True)
    make("uninstall", prefix, f"DESTDIR={tmp_path / 'stage'}")
    assert [str(f) for f in (tmp_path / "stage").rglob("*") if not f.is_dir()] == []
