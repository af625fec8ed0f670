"""Idempotency keys on uploads: however often a request is repeated, by many at once, over deaths of the daemon, it is carried out once and gets
its first answer again. (Keys on jobs: test_jobs.py.)"""
import contextlib
import http.client
import itertools
import json
import os
import random
import sqlite3
import threading

import numpy
import pytest

from daemon import CALIB, MODEL, SLOW, TOP, in_threads, until
from test_keys import As, key
from test_tus import BYTES, VERSION, metadata, offset, patch, result

SEED = int(os.environ.get("SEQMSED_SEED", random.SystemRandom().randrange(1 << 32)))
DAY_MS = 86400000
OTHER = TOP / "tests/data/zoo/conv1d.onnx"
KINDS = pytest.mark.parametrize("kind, file", [("models", MODEL), ("calibrations", CALIB)], ids=["model", "calibration"])
names = (f"key-{n}" for n in itertools.count())


def put(daemon, kind, body, name, query="", method="POST"):
    return daemon.request(method, f"/v1/{kind}{query}", body, {"Idempotency-Key": name})


def create(daemon, size, key_name, body=None, **values):
    headers = VERSION | {"Upload-Length": str(size), "Upload-Metadata": metadata(**values), "Idempotency-Key": key_name}
    return daemon.request("POST", "/v1/uploads", body, headers | ({"Content-Type": BYTES} if body is not None else {}))


def replayed(r):
    return r.headers["Idempotency-Replayed"] == "true"


def reused(r):
    return (r.status, r.code) == (422, "idempotency-reuse")


def change(daemon, sql, *values):
    with contextlib.closing(sqlite3.connect(daemon.state / "seqmsed.db", timeout=10)) as d, d:
        return d.execute(sql, values).rowcount


# ---- models and calibration sets ----

@KINDS
@pytest.mark.seconds(180)
def test_a_hundred_uploads_with_one_key_make_one_object(daemon, kind, file):
    clients, each = 20, 5 if SLOW == 1 else 2
    replies = [r for some in in_threads(clients, lambda _: [put(daemon, kind, file, "k") for _ in range(each)]) for r in some]
    assert {r.status for r in replies} == {201} and len({r.body for r in replies}) == 1
    assert sum(not replayed(r) for r in replies) == 1
    assert len(daemon.json(f"/v1/{kind}")["data"]) == 1 and daemon.rows()["once"] == 1
    # Who comes without the key hears that it is there already.
    assert daemon.request("PUT", f"/v1/{kind}", file).status == 200
    until(lambda: sorted(daemon.files().values()) == [0, file.stat().st_size], "one file and the lock are there", 5)
    assert daemon.stop()[0] == 0
    daemon.check_consistent()


@KINDS
def test_the_first_answer_again_after_a_restart(daemon, kind, file):
    first = put(daemon, kind, file, "new", "?name=one")
    again = put(daemon, kind, file, "known", "?name=two")  # deduplicated: that is its answer from now on
    assert (first.status, again.status) == (201, 200) and again.json()["deduplicated"] and not replayed(again)
    daemon.kill()
    daemon.start()
    for name, query, before in (("new", "?name=one", first), ("known", "?name=two", again)):
        for method in ("POST", "PUT"):
            r = put(daemon, kind, file, name, query, method)
            assert (r.status, r.body, r.headers["Location"]) == (before.status, before.body, before.headers["Location"]) and replayed(r)


@KINDS
def test_another_request_is_refused(standing, kind, file):
    name = next(names)
    assert put(standing, kind, file, name, "?name=a").status == 200  # the standing daemon has the files
    with standing.keeps_nothing():
        body = file.read_bytes()
        assert reused(put(standing, kind, file, name)) and reused(put(standing, kind, file, name, "?name=b"))
        assert reused(put(standing, kind, OTHER if kind == "models" else body + b"x", name, "?name=a"))
        assert reused(put(standing, "calibrations" if kind == "models" else "models", file, name, "?name=a"))
        assert reused(create(standing, len(body), name, kind=kind))
        r = standing.request("POST", "/v1/jobs", json.dumps({"model": standing.model_id, "calibration": standing.calibration_id}),
                             {"Content-Type": "application/json", "Idempotency-Key": name})
        assert reused(r)
        assert put(standing, kind, file, name, "?name=a").status == 200


@KINDS
def test_what_was_made_is_gone(daemon, kind, file):
    o = put(daemon, kind, file, "k").json()
    assert daemon.request("DELETE", f"/v1/{kind}/{o['id']}").status == 204
    r = put(daemon, kind, file, "k")
    assert (r.status, r.code) == (410, "gone")
    assert put(daemon, kind, file, "l").status == 201


@KINDS
def test_a_key_is_kept_for_a_day(daemon, kind, file):
    put(daemon, kind, file, "k")
    change(daemon, "UPDATE once SET at = at - ?", DAY_MS - 60000)
    assert put(daemon, kind, file, "k").status == 201
    change(daemon, "UPDATE once SET at = at - 60000")
    r = put(daemon, kind, OTHER if kind == "models" else file, "k")
    assert r.status in (200, 201) and not replayed(r) and daemon.rows()["once"] == 1


def test_what_was_refused_may_be_repeated(daemon, tmp_path):
    model, misfit = daemon.model(), tmp_path / "misfit.npz"
    numpy.savez(misfit, image=numpy.zeros((4, 3), "float32"))
    for _ in range(2):
        assert put(daemon, "models", b"none", "k").code == "not-an-onnx"
        assert put(daemon, "calibrations", misfit, "k", f"?model={model}").code == "calibration-mismatch"
        assert create(daemon, 4, "k", b"none", kind="models").code == "not-an-onnx"
        assert daemon.rows()["once"] == 0
    daemon.calibration(misfit)
    assert put(daemon, "calibrations", misfit, "k", f"?model={model}").code == "calibration-mismatch"  # also of one that is there
    assert daemon.rows()["once"] == 0
    assert put(daemon, "calibrations", CALIB, "k", f"?model={model}").status == 201
    assert daemon.request("DELETE", f"/v1/models/{model}").status == 204
    assert put(daemon, "calibrations", CALIB, "k", f"?model={model}").status == 201  # it fitted then
    assert put(daemon, "calibrations", CALIB, "l", f"?model={model}").status == 404


def test_owners_have_their_own_keys(start):
    daemon = start()
    ann, bob = (As(daemon, key(daemon, "add", owner, "--scope", "read,submit")) for owner in ("ann", "bob"))
    for kind, file in (("models", MODEL), ("calibrations", CALIB)):
        body = file.read_bytes()
        made = [who("POST", f"/v1/{kind}", body, Idempotency_Key=kind) for who in (ann, bob, ann, bob)]
        assert [r.status for r in made] == [201] * 4 and [replayed(r) for r in made] == [False, False, True, True]
        a, b, c, d = (r.json()["id"] for r in made)
        assert a == c != b == d
    headers = {"Tus_Resumable": "1.0.0", "Upload_Length": "9", "Upload_Metadata": metadata(kind="models"), "Idempotency_Key": "u"}
    a, b, c = (who("POST", "/v1/uploads", **headers).headers["Location"] for who in (ann, bob, ann))
    assert a == c != b


# ---- uploads in pieces ----

def test_one_key_begins_one_upload(daemon):
    body = MODEL.read_bytes()
    replies = in_threads(30, lambda _: create(daemon, len(body), "k", kind="models", name="m"))
    assert {r.status for r in replies} == {201} and len({r.headers["Location"] for r in replies}) == 1
    assert sum(not replayed(r) for r in replies) == 1 and daemon.rows()["uploads"] == 1
    assert len([p for p in daemon.files() if p.startswith("uploads/")]) == 1
    for at in (0, 5000, 9000):
        url = create(daemon, len(body), "k", kind="models", name="m").headers["Location"]
        assert url == replies[0].headers["Location"] and offset(daemon, url) == at
        assert patch(daemon, url, at, body[at:at + (4000 if at else 5000)]).status == 204
        daemon.kill()
        daemon.start()
    r = create(daemon, len(body), "k", kind="models", name="m")
    assert (r.status, r.headers["Upload-Offset"], replayed(r)) == (201, "13000", True)
    assert reused(create(daemon, len(body), "k", kind="models", name="n")) and reused(create(daemon, len(body) + 1, "k", kind="models", name="m"))
    assert reused(create(daemon, len(body), "k", body[:99], kind="models", name="m"))
    assert patch(daemon, url, 13000, body[13000:]).status == 204
    model = result(daemon, url)["id"]
    r = create(daemon, len(body), "k", kind="models", name="m")
    assert (r.status, r.headers["Upload-Offset"], r.headers["Content-Location"]) == (201, str(len(body)), f"/v1/models/{model}")
    assert daemon.request("DELETE", url, headers=VERSION).status == 204
    assert create(daemon, len(body), "k", kind="models", name="m").code == "gone"


@pytest.mark.parametrize("part", [3000, None], ids=["some", "all"])
def test_with_the_first_bytes(daemon, part):
    body = MODEL.read_bytes()
    replies = in_threads(10, lambda _: create(daemon, len(body), "k", body[:part], kind="models"))
    assert {r.status for r in replies} == {201} and len({r.headers["Location"] for r in replies}) == 1
    url = replies[0].headers["Location"]
    r = create(daemon, len(body), "k", body[:part], kind="models")
    assert (r.headers["Location"], int(r.headers["Upload-Offset"]), replayed(r)) == (url, part or len(body), True)
    assert reused(create(daemon, len(body), "k", body[:2000], kind="models")) and reused(create(daemon, len(body), "k", kind="models"))
    if part:
        assert patch(daemon, url, part, body[part:]).status == 204
    assert daemon.get(f"/v1/models/{result(daemon, url)['id']}/content").body == body
    assert len(daemon.json("/v1/models")["data"]) == 1
    assert [p for p in daemon.files() if p.startswith(("uploads/", "parts/"))] == []


# ---- deaths ----

@pytest.mark.seconds(180)
def test_killed_anywhere_and_repeated(daemon):
    """The daemon dies at some moment of a request; repeated until there is an answer, it was carried out once."""
    print(f"SEQMSED_SEED={SEED}")
    dice, models = random.Random(SEED), 0
    for n in range(6 if SLOW == 1 else 2):
        kind, name = ("models", "calibrations", "uploads")[n % 3], f"k{n}"
        body = MODEL.read_bytes() + b"\x32\x03" + b"%03d" % n if kind != "calibrations" else CALIB.read_bytes()

        def send(kind=kind, name=name, body=body):
            return create(daemon, len(body), name, body, kind="models") if kind == "uploads" else put(daemon, kind, body, name)
        for _ in range(2):
            late = threading.Timer(dice.uniform(0, 0.15), daemon.kill)
            late.start()
            with contextlib.suppress(OSError, http.client.HTTPException):
                send()
            late.join()
            daemon.start()
        r = send()
        assert r.status == 201 or (kind == "calibrations" and r.status == 200), r
        assert (send().status, replayed(send())) == (r.status, True)
        if kind == "uploads":
            url, at = r.headers["Location"], int(r.headers["Upload-Offset"])
            assert at == len(body) or patch(daemon, url, at, body[at:]).status == 204
            assert result(daemon, url)["sha256"]
        models += kind != "calibrations"
        assert len(daemon.json("/v1/models")["data"]) == models and daemon.rows()["once"] == n + 1
        assert daemon.rows()["uploads"] == (n + 1) // 3
    assert daemon.stop()[0] == 0
    daemon.check_consistent()
