"""kill -9 at every call that changes something: whatever the daemon was doing to its disk or was about to say, what it acknowledged is there
afterwards, once, and the same client gets to the same end.

CI draws some of the calls by chance (SEQMSED_SEED repeats them); SEQMSED_KILLS asks for more, 0 for all of them (`make soak`).
"""
import contextlib
import http.client
import json
import os
import shutil
import signal

import pytest

import write_calls
from daemon import CALIB, MODEL, ZOO, Daemon

KILLS = int(os.environ.get("SEQMSED_KILLS", 30))
LOST = (ConnectionError, http.client.HTTPException)
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = "application/offset+octet-stream"
FLAGS = "--http-threads", "1", "--request-threads", "1"
SPARE = ZOO / "conv1d.onnx"
EXTERNAL = ZOO / "external_data.onnx", ZOO / "external_data.data"

pytestmark = write_calls.needs_it


class Client:
    """Uploads, submits, waits, fetches and deletes. After a death it begins again with the same idempotency keys; what was acknowledged
    once has to stay what it was."""

    def __init__(self):
        self.seen = {}

    def note(self, what, value):
        assert self.seen.setdefault(what, value) == value, (what, self.seen[what], value)

    def made(self, daemon, what, method, target, body, statuses, **headers):
        r = daemon.request(method, target, body, {"Idempotency-Key": what} | headers)
        assert r.status in statuses, (what, r)
        self.note(what, r.json()["id"])
        return r.json()["id"]

    def in_pieces(self, daemon, what, body):
        """An upload of calibration data by tus, from where it broke off; returns its id."""
        r = daemon.request("POST", "/v1/uploads", headers=TUS | {"Idempotency-Key": what, "Upload-Length": str(len(body)),
                                                                 "Upload-Metadata": "kind Y2FsaWJyYXRpb25z"})
        assert r.status == 201, r
        self.note("upload", r.headers["Location"])
        at, url = int(r.headers["Upload-Offset"]), r.headers["Location"]
        assert at >= self.seen.get("offset", 0)
        while at < len(body):
            piece = TUS | {"Upload-Offset": str(at), "Content-Type": BYTES}
            r = daemon.request("PATCH", url, body[at:at + len(body) // 2 + 1], piece)
            assert r.status == 204, r
            at = self.seen["offset"] = int(r.headers["Upload-Offset"])
        self.note(what, daemon.json(url)["result"].rsplit("/", 1)[1])
        return self.seen[what]

    def session(self, daemon, expected):
        model = self.made(daemon, "model", "POST", "/v1/models", MODEL, (200, 201))
        calibration = self.in_pieces(daemon, "calibration", CALIB.read_bytes())
        external = self.made(daemon, "external", "POST", "/v1/models", EXTERNAL[0], (200, 201))
        r = daemon.request("PUT", f"/v1/models/{external}/files/{EXTERNAL[1].name}", EXTERNAL[1])
        assert r.status in (200, 201), r
        self.seen["complete"] = external
        order = json.dumps({"model": model, "calibration": calibration, "params": {"num_candidates": 5, "reuse": False}})
        job = self.made(daemon, "job", "POST", "/v1/jobs", order, (202,), **{"Content-Type": "application/json"})
        daemon.succeed(job)
        assert daemon.encodings(job) == expected
        assert daemon.get(f"/v1/models/{model}/content").body == MODEL.read_bytes()
        if "deleting" not in self.seen:
            self.made(daemon, "spare", "POST", "/v1/models", SPARE, (200, 201))  # a file that no result repeats, so that it really goes
        self.seen["deleting"] = self.seen["spare"]
        r = daemon.request("DELETE", f"/v1/models/{self.seen['spare']}")
        assert r.status == 204 or (r.status == 404 and "died" in self.seen), r
        self.seen["deleted"] = True

    def look(self, daemon):
        """Everything that was acknowledged is there, and nothing twice."""
        seen = self.seen
        for what, kind in (("model", "models"), ("calibration", "calibrations"), ("external", "models"), ("spare", "models"), ("job", "jobs")):
            if what in seen and not (what == "spare" and "deleting" in seen):
                assert daemon.get(f"/v1/{kind}/{seen[what]}").status == 200, what
        if "complete" in seen:
            assert daemon.json(f"/v1/models/{seen['complete']}")["status"] == "complete"
        if "deleted" in seen:
            assert daemon.get(f"/v1/models/{seen['spare']}").status == 404
        for kind, most in (("models", 3), ("calibrations", 1), ("jobs", 1)):
            assert len(daemon.json(f"/v1/{kind}")["data"]) <= most, kind


def once(daemon, orders, client, expected, kill_at):
    """As far as it comes."""
    with contextlib.suppress(AssertionError if kill_at else ()):  # it may die before it listens
        daemon.start(*FLAGS)
    if daemon.process is None:
        assert orders.hit
        return
    with contextlib.suppress(*(LOST if kill_at else ())):
        client.session(daemon, expected)
    assert orders.hit or "deleted" in client.seen
    if orders.hit:
        daemon.kill()
    else:  # calls of the end may be meant
        code, _ = daemon.stop()
        assert code == (-signal.SIGKILL if orders.hit else 0)


def run(folder, lib, expected, kill_at):
    """A session whose daemon dies at that call, a look at what is left, and the session once more. Returns what the calls were."""
    folder.mkdir()
    orders, client, daemon = write_calls.Orders(lib, folder / "orders"), Client(), Daemon(folder)
    orders.at(kill_at)
    daemon.env = orders.env
    try:
        once(daemon, orders, client, expected, kill_at)
        daemon.env = {}
        client.seen["died"] = True
        for again in (True, False):
            daemon.start()
            client.look(daemon)
            if again:
                client.session(daemon, expected)
            assert daemon.stop()[0] == 0
            assert daemon.check_consistent() == 0
    finally:
        if daemon.process is not None:
            daemon.kill()
    daemon.check_stderr()
    assert len(list((daemon.state / "blobs").rglob("*/*"))) >= 3
    shutil.rmtree(folder / "state")
    return orders


@pytest.mark.seconds(240 if 0 < KILLS <= 100 else 36000)
def test_killed_at_every_call_that_changes_something(tmp_path, reference):
    print(f"SEQMSED_SEED={write_calls.SEED}")
    lib, expected = write_calls.library(tmp_path), reference(num_candidates=5)
    undisturbed = run(tmp_path / "undisturbed", lib, expected, 0)
    print(f"{undisturbed.count} calls: {undisturbed.names()}")
    assert set(undisturbed.names()) >= {"write", "send", "create", "sync", "rename", "link", "remove", "folder", "size"}
    killed = []
    for n in write_calls.points(undisturbed.count, KILLS):
        orders = run(tmp_path / str(n), lib, expected, n)
        if orders.hit:
            killed.append(orders.name(n))
    print(f"{len(killed)} kills: { {c: killed.count(c) for c in write_calls.CALLS if c in killed} }")
    assert len(killed) >= 0.9 * min(KILLS or undisturbed.count, undisturbed.count)  # how often progress is stored differs from run to run
