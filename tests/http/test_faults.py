"""kill -9 at chosen system calls: whatever the daemon was doing to its disk, what it acknowledged is there afterwards.

strace ends the daemon at the N-th call of a kind, while a client uploads, submits, waits and deletes.
"""
import contextlib
import http.client
import os
import shutil
import signal
import subprocess

import pytest

from daemon import CALIB, MODEL, SANITIZER, ZOO, Daemon, can_trace

SPARE = ZOO / "conv1d.onnx"
EXTERNAL = ZOO / "external_data.onnx", ZOO / "external_data.data"


pytestmark = pytest.mark.skipif(SANITIZER is not None or not can_trace(), reason="needs strace, and a program that is quick under it")


def session(daemon, seen):
    """Notes in seen what the daemon acknowledged."""
    model = seen["model"] = daemon.model(MODEL)
    calibration = seen["calibration"] = daemon.calibration(CALIB)
    external = seen["external"] = daemon.model(EXTERNAL[0])
    assert daemon.request("PUT", f"/v1/models/{external}/files/{EXTERNAL[1].name}", EXTERNAL[1]).status == 201
    seen["complete"] = external
    job = seen["job"] = daemon.job(model, calibration, num_candidates=5)
    daemon.succeed(job)
    spare = seen["spare"] = daemon.model(SPARE)  # a file that no result repeats, so that it really goes
    seen["deleting"] = spare
    assert daemon.request("DELETE", f"/v1/models/{spare}").status == 204
    seen["deleted"] = spare


def check(daemon, seen, expected):
    for key, kind in (("model", "models"), ("calibration", "calibrations"), ("external", "models"), ("spare", "models"), ("job", "jobs")):
        if key in seen and seen[key] != seen.get("deleting"):
            assert daemon.get(f"/v1/{kind}/{seen[key]}").status == 200, key
    if "complete" in seen:
        assert daemon.json(f"/v1/models/{seen['complete']}")["status"] == "complete"
    if "deleted" in seen:
        assert daemon.get(f"/v1/models/{seen['deleted']}").status == 404
    if "job" in seen:
        daemon.succeed(seen["job"])
        assert daemon.encodings(seen["job"]) == expected
    assert daemon.stop()[0] == 0
    assert daemon.check_consistent() == 0
    daemon.check_stderr()


def run_killed(daemon, call, n):
    """A session whose daemon dies at that call; returns what was acknowledged, and whether it came so far."""
    seen = {}
    daemon.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}"]
    try:
        daemon.start("--http-threads", "1", "--request-threads", "1")
    except AssertionError:
        return seen, True  # it died before it listened
    killed = True
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        session(daemon, seen)
        killed = False
    for pid in daemon.children():  # strace's: the daemon
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    daemon.process.wait(10)
    daemon.process.stdout.close()
    daemon.process = None
    return seen, killed


@pytest.mark.seconds(90)
@pytest.mark.parametrize("call, points", [
    ("fsync", range(1, 40)), ("fdatasync", range(1, 40)), ("renameat", range(1, 20)), ("unlinkat", range(1, 10)),
    ("pwrite64", [*range(1, 12), *range(12, 200, 9)]),
])
def test_killed_at_a_system_call(tmp_path, reference, call, points):
    kills = 0
    for n in points:
        folder = tmp_path / str(n)
        folder.mkdir()
        seen, killed = run_killed(Daemon(folder), call, n)
        kills += killed
        check(Daemon(folder).start(), seen, reference(num_candidates=5))
        if not killed:
            break  # there are no more calls of that kind
    print(f"{kills} kills at {call}")
    assert kills and not killed
