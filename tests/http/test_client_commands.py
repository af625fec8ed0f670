"""submit, wait, get, list, cancel: the commands that are the daemon's clients, and what they say when something is wrong."""
import json
import os
import pathlib
import subprocess
import tempfile

import numpy

from daemon import CALIB, MODEL, SEQMSED, quantize


def run(server, *argv, **env):
    return subprocess.run([SEQMSED, *map(str, argv), *(["--server", server] if server else [])], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, env={**os.environ, **env}, timeout=120)


def done(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_session_without_curl(daemon, tmp_path):
    job = done(run(daemon.url, "submit", MODEL, CALIB, "--name", "digits & more", "--param-bw", "3", "--wait")).strip()
    done(run(daemon.url, "get", job, "-o", tmp_path / "out"))
    assert (tmp_path / "out/model.encodings").read_bytes() == daemon.encodings(job)
    assert daemon.json(f"/v1/jobs/{job}")["params"]["param_bw"] == 3
    line = done(run(daemon.url, "list")).strip()
    assert line.startswith(job) and line.endswith("digits & more") and "succeeded" in line
    assert json.loads(done(run(daemon.url, "list", "--json", "--status", "succeeded")))["id"] == job
    assert done(run(daemon.url, "list", "--status", "failed")) == ""


def test_one_line_does_all(daemon, tmp_path):
    done(run(None, "submit", MODEL, CALIB, "-o", tmp_path / "out", "--all", SEQMSED_SERVER=daemon.url))
    assert (tmp_path / "out/model.encodings").read_bytes() == quantize(tmp_path / "cli", MODEL, CALIB)
    assert {"report.json", "model_0_6_1.encodings"} <= {f.name for f in (tmp_path / "out").iterdir()}


def test_the_same_files_are_uploaded_once(daemon):
    for _ in range(2):
        done(run(daemon.url, "submit", MODEL, CALIB, "--wait"))
    assert len(daemon.json("/v1/models")["data"]) == 1 and len(daemon.json("/v1/calibrations")["data"]) == 1


def test_cancel_and_wait_tell_by_their_status(daemon, long_calib):
    job = done(run(daemon.url, "submit", MODEL, long_calib)).strip()
    done(run(daemon.url, "cancel", job))
    r = run(daemon.url, "wait", job)
    assert r.returncode == 1 and "canceled" in r.stderr


def test_refusals_are_the_daemons_own_words(daemon, tmp_path):
    bad = tmp_path / "bad.npz"
    numpy.savez(bad, image=numpy.zeros((3, 2), "float32"))
    for argv, said in ((("submit", CALIB, CALIB), "not-an-onnx"), (("submit", MODEL, bad), "calibration-mismatch"), (("wait", "job_none"), "not-found"),
                       (("submit", MODEL, tmp_path / "none.npz"), "none.npz"), (("get", "job_none", "-o", tmp_path / "out"), "not-found")):
        r = run(daemon.url, *argv)
        assert r.returncode == 1 and said in r.stderr, (argv, r)
    assert not (tmp_path / "out").exists()
    assert run(daemon.url, "submit", MODEL).returncode == 2
    assert run(daemon.url, "submit", MODEL, CALIB, "--param-bw", "99").returncode == 2
    assert run(daemon.url, "wait", "x", "--all").returncode == 2


def test_without_a_daemon_it_says_how_to_get_one():
    r = run("http://127.0.0.1:1", "list")
    assert r.returncode == 1 and "seqmsed serve" in r.stderr
    assert run("ftp://127.0.0.1", "list").returncode == 2


def test_a_unix_socket(tmp_path):
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        path = pathlib.Path(short) / "s"
        process = subprocess.Popen([SEQMSED, "serve", "--listen", f"unix:{path}", "--state-dir", str(tmp_path / "state")], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        try:
            assert process.stdout.readline()
            done(run(f"unix:{path}", "submit", MODEL, CALIB, "-o", tmp_path / "out"))
            assert (tmp_path / "out/model.encodings").exists()
        finally:
            process.terminate()
            process.wait(timeout=30)
            process.stdout.close()
