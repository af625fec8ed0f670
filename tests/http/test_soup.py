"""Many clients do many things in no order, while the daemon now and then dies; in the end everything must add up."""
import collections
import contextlib
import http.client
import random
import threading
import time

import pytest

from daemon import CALIB, FINAL, MODEL, PATIENCE, SLOW, ZOO, in_threads, until

PAIRS = [(MODEL, CALIB)] + [(ZOO / f"{n}.onnx", ZOO / f"{n}.npz") for n in ("conv2d", "gemm_forms", "residual", "two_inputs", "conv1d")]
LOST = (ConnectionError, http.client.HTTPException, TimeoutError, OSError)


class Client:
    """One of several that share what they know. An operation is a method; all answers that a client may get are listed there."""

    def __init__(self, daemon, world, seed):
        self.daemon, self.world, self.random = daemon, world, random.Random(seed)
        self.operations = [self.upload] * 3 + [self.submit] * 3 + [self.read] * 4 + [self.cancel, self.delete, self.wrong, self.cut]

    def step(self):
        self.random.choice(self.operations)()

    def request(self, method, target, *args, **kwargs):
        r = self.daemon.request(method, target, *args, **kwargs)
        assert r.status < 500 or r.status == 503, (method, target, r)
        self.world.seen[r.status] += 1
        return r

    def some(self, kind):
        known = list(self.world.known[kind])
        return self.random.choice(known) if known else None

    def upload(self):
        kind, which = self.random.choice(("models", "calibrations")), self.random.choice(PAIRS)
        r = self.request("PUT", f"/v1/{kind}", which[kind == "calibrations"])
        if r.status in (200, 201):
            self.world.known[kind][r.json()["id"]] = which
        else:
            assert r.status in (404, 503), r  # 404: another client removed the twin meanwhile

    def submit(self):
        model, calibration = self.some("models"), self.some("calibrations")
        if not model or not calibration:
            return
        pair, other = self.world.known["models"].get(model), self.world.known["calibrations"].get(calibration)
        r = self.daemon.submit(model=model, calibration=calibration, params={"num_candidates": 5})
        self.world.seen[r.status] += 1
        if r.status == 202:
            self.world.known["jobs"][r.json()["id"]] = (pair, other)
        else:
            assert (r.status, r.code) in ((404, "not-found"), (422, "calibration-mismatch"), (503, "draining")), r
            assert r.status != 422 or pair != other

    def read(self):
        kind = self.random.choice(("models", "calibrations", "jobs"))
        one = self.some(kind)
        rest = self.random.choice({"models": ["", "/layers", "/content"], "calibrations": ["", "/content"],
                                   "jobs": ["", "?wait=1", "/layers", "/events", "/encodings", "/artifacts"]}[kind])
        r = self.request("GET", f"/v1/{kind}/{one}{rest}" if one else self.random.choice((f"/v1/{kind}?limit=5", "/v1/queue")))
        assert r.status in (200, 404, 409, 503), r

    def cancel(self):
        job = self.some("jobs")
        if job:
            r = self.request("POST", f"/v1/jobs/{job}/cancel")
            assert r.status in (202, 404, 409, 503), r

    def delete(self):
        kind = self.random.choice(("models", "calibrations", "jobs"))
        one = self.some(kind)
        if one:
            self.world.deleted.add(one)  # from here on nobody can tell, even without an answer
            r = self.request("DELETE", f"/v1/{kind}/{one}")
            assert r.status in (204, 404, 409, 503), r
            if r.status == 409:
                self.world.deleted.discard(one)
            else:
                self.world.known[kind].pop(one, None)

    def wrong(self):
        r = self.request(*self.random.choice([("PUT", "/v1/models", b"x"), ("PUT", "/v1/calibrations", b""), ("GET", "/v1/jobs/x"),
                                              ("POST", "/v1/jobs", b"{", {"Content-Type": "application/json"}), ("DELETE", "/v1/models")]))
        assert r.status in (404, 405, 422, 503), r

    def cut(self):
        c = self.daemon.connection()
        try:
            c.putrequest("PUT", "/v1/models")
            c.putheader("Content-Length", "98850")
            c.endheaders()
            c.send(MODEL.read_bytes()[:self.random.randrange(90000)])
        finally:
            c.close()


class World:
    def __init__(self):
        self.known = {"models": {}, "calibrations": {}, "jobs": {}}
        self.deleted, self.seen = set(), collections.Counter()


def check(daemon, world, reference):
    """Everything that was acknowledged and not deleted is there, all jobs end, and results are right."""
    for kind, known in world.known.items():
        for one in known:
            if one not in world.deleted:
                assert daemon.get(f"/v1/{kind}/{one}").status == 200, (kind, one)
    done = collections.Counter()
    for one, (pair, other) in world.known["jobs"].items():
        if daemon.get(f"/v1/jobs/{one}").status == 404:
            assert one in world.deleted
            continue
        job = daemon.wait(one)
        done[job["status"]] += 1
        assert job["status"] in ("succeeded", "canceled") or job["error"]["code"] == "not-found", job
        if job["status"] == "succeeded":
            assert pair == other
            assert daemon.encodings(one) == reference(*pair, num_candidates=5)
    print(f"answers {dict(sorted(world.seen.items()))}, jobs {dict(done)}")
    assert daemon.stop()[0] == 0
    assert daemon.check_consistent() == 0
    daemon.start()
    queue = daemon.json("/v1/queue")
    assert (queue["queued"], queue["running"]) == (0, 0)
    assert daemon.stop()[0] == 0
    assert daemon.check_consistent() == 0


@pytest.mark.seconds(90)
def test_soup(start, reference):
    daemon, world = start("--workers", "2"), World()
    daemon.succeed(daemon.job(daemon.model(), daemon.calibration()))
    descriptors, threads = daemon.handles()

    def one(i):
        client = Client(daemon, world, 100 + i)
        for _ in range(100):
            client.step()
    in_threads(4, one)
    # Every thread may keep a database connection of its own: a few descriptors more, but not one an operation.
    until(lambda: not daemon.children(), "all jobs are done")
    until(lambda: daemon.handles()[0] < descriptors + 40 and daemon.handles()[1] == threads, "the daemon holds as little as before")
    check(daemon, world, reference)


@pytest.mark.seconds(90)
def test_soup_with_kills(start, reference):
    """An operation without an answer may have happened or not; one with an answer has."""
    daemon, world = start("--workers", "2"), World()
    stop = threading.Event()

    def one(i):
        if i == 0:
            moments = random.Random(5)
            for _ in range(6):
                time.sleep(moments.uniform(0.2, 1) * SLOW)
                daemon.kill()
                daemon.start()
            stop.set()
            return
        client = Client(daemon, world, 200 + i)
        while not stop.is_set():
            with contextlib.suppress(*LOST):
                client.step()
    in_threads(5, one)
    until_idle = time.monotonic() + 60 * PATIENCE
    while any(j["status"] not in FINAL for j in daemon.json("/v1/jobs?limit=1000")["data"]):
        assert time.monotonic() < until_idle
        time.sleep(0.1)
    check(daemon, world, reference)
