"""The same work again and again, each round of which leaves nothing behind: memory, descriptors, threads and disk of the daemon stay what they are.

SEQMSED_SOAK_SECONDS is how long (`make soak`: ten minutes).
"""
import contextlib
import http.client
import os
import statistics
import time

import pytest

from daemon import CALIB, MODEL, SANITIZER, ZOO, in_threads, patient, until
from test_tus import create, patch, result

SECONDS = int(os.environ.get("SEQMSED_SOAK_SECONDS", 40))
WARM, SOME, LEAST_ROUNDS = 20, 10, 40  # after so many rounds every thread has what it needs; so many are compared; at least so many are made
MiB = 1 << 20
NAMES = ("conv2d", "gemm_forms", "residual", "two_inputs")


def rss(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def jobs(daemon, model, calibration):
    """One that is done and looked at from all sides, one that is canceled."""
    done = daemon.job(model, calibration, num_candidates=3)
    canceled = daemon.job(model, calibration, num_candidates=20000)
    with contextlib.closing(daemon.connection()) as c:  # its events, live
        c.request("GET", f"/v1/jobs/{done}/events", headers={"Accept": "text/event-stream"})
        assert b"event: " in c.getresponse().read()
    daemon.succeed(done)
    for target in ("", "/layers", "/encodings?version=2.1.0", "/logs", "/artifacts/report.json", "/artifacts/model_qdq.onnx"):
        assert daemon.get(f"/v1/jobs/{done}{target}").status == 200, target
    assert daemon.request("POST", f"/v1/jobs/{canceled}/cancel").status in (202, 409)
    daemon.wait(canceled)
    for job in done, canceled:
        assert daemon.request("DELETE", f"/v1/jobs/{job}").status == 204


def client(daemon, name):
    """Everything that one client does in a round; files of its own, so that it can delete them."""
    model, calib = ZOO / f"{name}.onnx", ZOO / f"{name}.npz"
    uploaded, body = daemon.model(model), calib.read_bytes()
    url = create(daemon, len(body), kind="calibrations", model=uploaded)
    for at in range(0, len(body), len(body) // 3 + 1):
        assert patch(daemon, url, at, body[at:at + len(body) // 3 + 1]).status == 204
    calibration = result(daemon, url)["id"]
    jobs(daemon, uploaded, calibration)
    for kind in "models", "calibrations", "jobs":
        daemon.json(f"/v1/{kind}")
    assert daemon.request("PUT", "/v1/models", b"none").status == 422 and daemon.get("/v1/models/mdl_1").status == 404
    with contextlib.closing(daemon.connection()) as c, contextlib.suppress(OSError, http.client.HTTPException):  # it breaks off
        c.putrequest("PUT", "/v1/models")
        c.putheader("Content-Length", str(MODEL.stat().st_size))
        c.endheaders()
        c.send(MODEL.read_bytes()[:50000])
    assert daemon.request("DELETE", url, headers={"Tus-Resumable": "1.0.0"}).status == 204
    for target in f"models/{uploaded}", f"calibrations/{calibration}":
        assert daemon.request("DELETE", f"/v1/{target}").status == 204


class Held:
    """What the daemon has between two rounds, when nobody wants anything of it. The audit grows, as it should."""

    def __init__(self, daemon):
        until(lambda: not daemon.children() and daemon.handles()[1] <= self.threads(daemon), "it is idle")
        self.rss, (self.descriptors, self.thread_count) = rss(daemon.pid), daemon.handles()
        until(lambda: daemon.files().keys() <= {"lock", "speed"}, "nothing but its own files is left")
        self.rows = {table: n for table, n in daemon.rows().items() if table != "audit"}
        self.wal = (daemon.state / "seqmsed.db-wal").stat().st_size

    @staticmethod
    def threads(daemon):
        """Those of an idle daemon."""
        if not hasattr(daemon, "idle_threads"):
            daemon.idle_threads = daemon.handles()[1]
        return daemon.idle_threads


@pytest.mark.seconds(SECONDS + 240)
def test_rounds_leave_nothing_behind(start):
    daemon = patient(start("--workers", "2", "--inspect-seconds", "600"))
    assert daemon.get("/readyz").status == 200
    Held(daemon)
    rounds, begun = [], time.monotonic()
    while time.monotonic() - begun < SECONDS or len(rounds) < LEAST_ROUNDS:
        in_threads(len(NAMES), lambda i: client(daemon, NAMES[i]))
        rounds.append(Held(daemon))
    warm, late = rounds[WARM:WARM + SOME], rounds[-SOME:]
    grown = statistics.median(r.rss for r in late) - statistics.median(r.rss for r in warm)
    print(f"{len(rounds)} rounds; RSS {rounds[0].rss / MiB:.1f}, {statistics.median(r.rss for r in warm) / MiB:.1f}, then {late[-1].rss / MiB:.1f} MiB "
          f"({grown / 1024:+.0f} KiB); descriptors {[r.descriptors for r in rounds][::max(1, len(rounds) // 20)]}; WAL at most {max(r.wal for r in rounds) / MiB:.1f} MiB")
    assert all(r.rows == rounds[0].rows for r in rounds)
    assert max(r.wal for r in rounds) <= 64 * MiB
    # A thread may open a database connection of its own when it first needs one.
    assert max(r.descriptors for r in late) <= max(r.descriptors for r in rounds[:WARM + SOME]) + 3
    assert len({r.thread_count for r in rounds}) == 1
    assert SANITIZER or grown < 4 * MiB
    assert daemon.stop()[0] == 0
    assert daemon.check_consistent() == 0
