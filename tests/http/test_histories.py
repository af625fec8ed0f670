"""Many clients do many things in no order, while the daemon and its engines die now and then. Everything is recorded, and afterwards one order has
to explain what each client heard of each object (history.py): what was acknowledged is seen by everybody from then on, what was deleted never comes
back, jobs only go forward, results are those of what was submitted. In the end everything adds up.

SEQMSED_SEED repeats the clients' choices (not the moments); SEQMSED_OPERATIONS and SEQMSED_CLIENTS ask for more (`make soak`).
"""
import collections
import contextlib
import http.client
import itertools
import json
import math
import os
import random
import signal
import threading
import time

import pytest

from daemon import CALIB, FINAL, MODEL, SLOW, ZOO, in_threads, patient, until
from history import History, Operation, job, now, unexplained, upload

SEED = int(os.environ.get("SEQMSED_SEED", random.SystemRandom().randrange(1 << 32)))
OPERATIONS = int(os.environ.get("SEQMSED_OPERATIONS", 1200 // SLOW))
CLIENTS = int(os.environ.get("SEQMSED_CLIENTS", 6))
A_KILL, AN_ENGINE = 250, 50  # after so many operations the daemon is killed, or an engine
PAIRS = [(MODEL, CALIB)] + [(ZOO / f"{n}.onnx", ZOO / f"{n}.npz") for n in ("conv2d", "gemm_forms", "residual", "two_inputs", "conv1d")]
LOST = (http.client.HTTPException, OSError)
JSON = {"Content-Type": "application/json"}


def killed_twice(r):
    """An inspection, and the one after it."""
    return r.status == 422 and "(Killed)" in r.json()["detail"]


class World:
    """What the clients know together."""

    def __init__(self, daemon):
        self.daemon, self.history = daemon, History()
        self.made = {"models": {}, "calibrations": {}, "jobs": {}}  # id: what it was made of; deleted ones stay
        self.gone = set()
        self.answers, self.lost = collections.Counter(), collections.Counter()
        self.count = itertools.count(1)
        self.done = 0


class Client:
    def __init__(self, world, seed):
        self.world, self.daemon, self.dice = world, world.daemon, random.Random(seed)
        self.choices = ([self.upload] * 5 + [self.submit] * 5 + [self.read] * 8 + [self.rename] * 4 + [self.result] * 3 + [self.cancel] * 2 + [self.delete] * 2
                        + [self.list, self.wrong, self.cut])

    def step(self):
        self.dice.choice(self.choices)()
        self.world.done = next(self.world.count)

    def some(self, kind):
        """Mostly one that is there, as far as we know."""
        known = list(self.world.made[kind])
        if self.dice.random() < 0.9:
            known = [x for x in known if x not in self.world.gone]
        return self.dice.choice(known) if known else None

    def of_pair(self, kind, pair):
        """One of that pair, mostly."""
        fit = [x for x, which in list(self.world.made[kind].items()) if which == pair and x not in self.world.gone]
        return self.dice.choice(fit) if fit and self.dice.random() < 0.9 else self.some(kind)

    def ask(self, method, target, body=None, headers=None):
        """(the reply, when it was asked, when it was answered); the reply is None where the daemon may have heard it and did not answer."""
        begin = now()
        while True:
            try:
                r = self.daemon.request(method, target, body, headers)
                break
            except ConnectionRefusedError:  # nobody heard it
                time.sleep(0.02)
                begin = now()
            except LOST:
                return None, begin, math.inf
        self.world.answers[r.status] += 1
        assert r.status < 500, (method, target, r)
        return r, begin, now()

    def note(self, kind, one, asked, what, argument=None):
        r, begin, end = asked
        self.world.history.add(kind, one, begin, end, what, argument, r and r.status)
        if r and (r.status == 404 or what == "delete" and r.status == 204):
            self.world.gone.add(one)

    # ---- operations ----

    def upload(self):
        kind, which = self.dice.choice(("models", "calibrations")), self.dice.randrange(len(PAIRS))
        asked = self.ask("PUT", f"/v1/{kind}", PAIRS[which][kind == "calibrations"])
        if not asked[0]:
            self.world.lost[kind] += 1
            return
        if killed_twice(asked[0]):
            return
        assert asked[0].status in (200, 201), asked[0]
        one = asked[0].json()["id"]
        assert self.world.made[kind].setdefault(one, which) == which
        self.note(kind, one, asked, "make" if asked[0].status == 201 else "make again")

    def submit(self):
        """Sometimes twice with one key: then both are the same job."""
        model = self.some("models")
        calibration = model and self.of_pair("calibrations", self.world.made["models"][model])
        if not calibration:
            return
        pair = self.world.made["models"][model], self.world.made["calibrations"][calibration]
        params = {"num_candidates": self.dice.choice((3, 5)), "reuse": self.dice.random() < 0.5}
        body = json.dumps({"model": model, "calibration": calibration, "params": params})
        key = {"Idempotency-Key": f"{self.dice.random()}"} if self.dice.random() < 0.3 else {}
        before = None
        for _ in range(2 if key else 1):
            asked = r, _, _ = self.ask("POST", "/v1/jobs", body, JSON | key)
            if not r:
                self.world.lost["jobs"] += not key  # with a key the same job may come again
                self.world.lost["jobs with keys"] += bool(key)
            elif r.status == 202:
                one = r.json()["id"]
                assert one == (before or one)
                self.world.made["jobs"].setdefault(one, (*pair, params["num_candidates"]))
                replayed = r.headers["Idempotency-Replayed"] == "true"
                self.note("jobs", one, asked, "make again" if replayed else "make")
                if not replayed:
                    self.note("models", model, asked, "use")
                    self.note("calibrations", calibration, asked, "use")
                before = one
            elif r.status == 404:
                for pointer in r.pointers:
                    kind, one = {"/model": ("models", model), "/calibration": ("calibrations", calibration)}[pointer]
                    self.note(kind, one, asked, "use")
            elif r.status == 410:
                assert before  # somebody deleted it between our two requests
            elif not killed_twice(r):
                assert (r.status, r.code) == (422, "calibration-mismatch") and pair[0] != pair[1], r

    def read(self):
        kind = self.dice.choice(("models", "calibrations", "jobs"))
        one = self.some(kind)
        if one:
            self.seen(kind, one, self.ask("GET", f"/v1/{kind}/{one}" + (self.dice.choice(("", "?wait=1")) if kind == "jobs" else "")))

    def seen(self, kind, one, asked):
        r = asked[0]
        if r:
            assert r.status in (200, 404), r
            o = r.json() if r.status == 200 else {}
            self.note(kind, one, asked, "read", o and ((o["status"], o["name"]) if kind == "jobs" else o["name"]))

    def list(self):
        kind = self.dice.choice(("models", "calibrations", "jobs"))
        known = list(self.world.made[kind])
        r, begin, end = self.ask("GET", f"/v1/{kind}?limit=1000")
        if not r:
            return
        listed = {o["id"]: o for o in r.json()["data"]}
        assert len(listed) == len(r.json()["data"]) and not r.json()["has_more"]
        for one in known:
            o = listed.get(one)
            shown = o and ((o["status"], o["name"]) if kind == "jobs" else o["name"])
            self.world.history.add(kind, one, begin, end, "read", shown, 200 if o else 404)

    def rename(self):
        kind = self.dice.choice(("models", "calibrations", "jobs"))
        one, name = self.some(kind), f"n{self.dice.random()}"
        if one:
            asked = self.ask("PATCH", f"/v1/{kind}/{one}", json.dumps({"name": name}), JSON)
            assert not asked[0] or asked[0].status == 404 or (asked[0].status == 200 and asked[0].json()["name"] == name), asked[0]
            self.note(kind, one, asked, "rename", name)

    def result(self):
        one = self.some("jobs")
        if one:
            asked = r, _, _ = self.ask("GET", f"/v1/jobs/{one}/encodings")
            if r:
                assert r.status in (200, 404, 409), r
                assert r.status != 200 or r.body == self.world.expected(*self.world.made["jobs"][one])
                self.note("jobs", one, asked, "result")

    def cancel(self):
        one = self.some("jobs")
        if one:
            asked = self.ask("POST", f"/v1/jobs/{one}/cancel")
            assert not asked[0] or asked[0].status in (202, 404, 409), asked[0]
            self.note("jobs", one, asked, "cancel")

    def delete(self):
        kind = self.dice.choice(("models", "calibrations", "jobs"))
        one = self.some(kind)
        if one:
            asked = self.ask("DELETE", f"/v1/{kind}/{one}")
            assert not asked[0] or asked[0].status in (204, 404, 409), asked[0]
            self.note(kind, one, asked, "delete")

    def wrong(self):
        r, _, _ = self.ask(*self.dice.choice([("PUT", "/v1/models", b"x"), ("PUT", "/v1/calibrations", b""), ("GET", "/v1/jobs/x"),
                                              ("POST", "/v1/jobs", b"{", JSON), ("DELETE", "/v1/models")]))
        assert not r or r.status in (404, 405, 422), r

    def cut(self):
        """An upload that breaks off."""
        c = self.daemon.connection()
        with contextlib.suppress(*LOST):
            c.putrequest("PUT", "/v1/models")
            c.putheader("Content-Length", "98850")
            c.endheaders()
            c.send(MODEL.read_bytes()[:self.dice.randrange(90000)])
        c.close()


class Killer:
    """Kills after so many operations, not at times: a slow machine does as much between two deaths as a quick one."""

    def __init__(self, world, seed):
        self.world, self.dice, self.daemons, self.engines = world, random.Random(seed), 0, 0

    def run(self, over):
        while not over.is_set():
            self.after(AN_ENGINE, over)
            for pid in self.world.daemon.children()[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.engines += 1
            if self.world.done // A_KILL > self.daemons and not over.is_set():
                self.world.daemon.kill()
                self.world.daemon.start()
                self.daemons += 1

    def after(self, operations, over):
        end = self.world.done + self.dice.randint(1, 2 * operations)
        while self.world.done < end and not over.is_set():
            time.sleep(0.002)


def last_look(world):
    """By a client that nobody disturbs any more."""
    client = Client(world, 0)
    daemon = world.daemon
    until(lambda: all(j["status"] in FINAL for j in daemon.json("/v1/jobs?limit=1000")["data"]), "all jobs have ended")
    ends = collections.Counter()
    for kind, made in world.made.items():
        for one in made:
            client.seen(kind, one, client.ask("GET", f"/v1/{kind}/{one}"))
        client.dice.choice = lambda _, kind=kind: kind
        client.list()
        # Of what nobody heard, no more is there than was asked for.
        unknown = {o["id"] for o in daemon.json(f"/v1/{kind}?limit=1000")["data"]} - set(made)
        assert len(unknown) <= world.lost[kind] + (world.lost["jobs with keys"] if kind == "jobs" else 0), (kind, unknown, world.lost)
    for j in daemon.json("/v1/jobs?limit=1000")["data"]:
        ends[j["status"]] += 1
        assert j["status"] != "failed" or j["error"]["code"] == "worker-crashed" and j["attempt"] >= 3, j
        if j["status"] == "succeeded" and j["id"] in world.made["jobs"]:
            assert daemon.encodings(j["id"]) == world.expected(*world.made["jobs"][j["id"]])
    return dict(ends)


@pytest.mark.seconds(300 if OPERATIONS <= 1200 else 36000)
def test_one_order_explains_what_clients_heard(start, reference, tmp_path):
    print(f"SEQMSED_SEED={SEED}")
    world, over = World(patient(start("--workers", "2", "--inspect-seconds", "600"))), threading.Event()
    world.expected = lambda model, calibration, n: reference(PAIRS[model][0], PAIRS[calibration][1], num_candidates=n) if model == calibration else None
    for i, _ in enumerate(PAIRS):
        for n in (3, 5):
            world.expected(i, i, n)
    killer = Killer(world, SEED)

    def one(i):
        try:
            if i == CLIENTS:
                killer.run(over)
                return
            client = Client(world, f"{SEED} {i}")
            while world.done < OPERATIONS and not over.is_set():
                client.step()
        finally:
            over.set()
    in_threads(CLIENTS + 1, one)
    ends = last_look(world)
    world.history.write(tmp_path / "history.jsonl")
    print(f"{world.done} operations by {CLIENTS} clients, {killer.daemons} deaths of the daemon, {killer.engines} of engines; answers "
          f"{dict(sorted(world.answers.items()))}, none {dict(world.lost)}; jobs {ends}")
    print(f"{world.history.check()} things heard of {len(world.history.of)} objects")
    assert killer.daemons >= OPERATIONS // A_KILL - 1
    assert world.daemon.stop()[0] == 0
    assert world.daemon.check_consistent() == 0


# ---- whether the check sees what is wrong ----

def history(model, *operations):
    first = ("new", "")
    return unexplained([Operation(*o, *[None] * (5 - len(o))) for o in operations], first, model)


INF = math.inf
MADE = (0, 1, "make", None, 201)


@pytest.mark.parametrize("model, operations", [
    (upload, [MADE, (2, 3, "read", "", 200), (2, 9, "rename", "a", 200), (3, 4, "read", "a", 200), (10, 11, "read", "a", 200)]),
    (upload, [MADE, (2, 9, "rename", "a", 200), (2, 9, "rename", "b", 200), (10, 11, "read", "a", 200)]),
    (upload, [MADE, (2, INF, "delete"), (3, 4, "read", "", 200), (5, 6, "read", {}, 404)]),
    (upload, [MADE, (2, INF, "rename", "a"), (3, 4, "read", "", 200)]),
    (job, [(0, 1, "make", None, 202), (2, 3, "read", ("running", ""), 200), (4, 5, "read", ("queued", ""), 200), (4, 9, "cancel", None, 409),
           (5, 6, "read", ("succeeded", ""), 200), (7, 8, "result", None, 200)]),
    (job, [(0, 1, "make", None, 202), (2, INF, "cancel"), (3, 4, "read", ("canceled", ""), 200), (5, 6, "delete", None, 204), (7, 8, "read", {}, 404)]),
], ids=range(6))
def test_an_order_is_found(model, operations):
    assert not history(model, *operations)


@pytest.mark.parametrize("model, operations", [
    (upload, [MADE, (2, 3, "rename", "a", 200), (4, 5, "read", "", 200)]),  # an acknowledged write is lost
    (upload, [MADE, (2, 9, "rename", "a", 200), (3, 4, "read", "a", 200), (5, 6, "read", "", 200)]),  # seen, and then no more
    (upload, [MADE, (2, 3, "delete", None, 204), (4, 5, "read", "", 200)]),  # back from the dead
    (upload, [MADE, (2, 3, "delete", None, 204), (4, 5, "delete", None, 204)]),
    (upload, [MADE, (2, 3, "read", {}, 404)]),  # lost altogether
    (upload, [MADE, (2, INF, "delete"), (3, 4, "read", {}, 404), (5, 6, "read", "", 200)]),
    (job, [(0, 1, "make", None, 202), (2, 3, "cancel", None, 202), (4, 5, "read", ("succeeded", ""), 200)]),  # a result after "canceled"
    (job, [(0, 1, "make", None, 202), (2, 3, "cancel", None, 202), (4, 5, "result", None, 200)]),
    (job, [(0, 1, "make", None, 202), (2, 3, "read", ("succeeded", ""), 200), (4, 5, "read", ("running", ""), 200)]),  # backwards
    (job, [(0, 1, "make", None, 202), (2, 3, "read", ("canceled", ""), 200)]),  # by nobody
], ids=range(10))
def test_a_history_that_no_order_explains(model, operations):
    assert history(model, *operations)
