"""What can be done with jobs beyond submitting: once per key, waiting, changing, pausing, trying again, reusing."""
import http.client
import json
import re
import socket
import threading
import urllib.parse

import pytest

from daemon import PATIENCE, SLOW, Reply, in_threads, until

JSON = {"Content-Type": "application/json"}
LONG = {"num_candidates": 100000}


def post(daemon, target, body=None, **headers):
    headers = {k.replace("_", "-"): v for k, v in headers.items()}
    if body is not None:
        return daemon.request("POST", target, json.dumps(body), JSON | headers)
    return daemon.request("POST", target, headers=headers)


def patch(daemon, target, **body):
    return daemon.request("PATCH", target, json.dumps(body), JSON)


def body_of(daemon, **params):
    return {"model": daemon.model_id, "calibration": daemon.calibration_id, "params": params}


@pytest.fixture(name="busy")
def fixture_busy(start, long_calib):
    """A daemon whose only worker is at work for long, so that whatever else is submitted waits."""
    d = start("--workers", "1")
    d.model_id, d.calibration_id = d.model(), d.calibration()
    d.blocker = d.job(d.model_id, d.calibration(long_calib), **LONG)
    d.running(d.blocker)
    return d


# ---- idempotency keys ----

@pytest.mark.seconds(180)
def test_a_thousand_submits_at_once_with_one_key_make_one_job(start):
    """All are sent but for their last byte, and then the last bytes."""
    clients = 1000 if SLOW == 1 else 200
    daemon = start("--max-connections", str(clients + 100), "--header-seconds", "600", "--slow-seconds", "600", "--stall-seconds", "600")
    daemon.model_id, daemon.calibration_id = daemon.model(), daemon.calibration()
    body = json.dumps(body_of(daemon)).encode()
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: one\r\nContent-Length: {len(body)}\r\n\r\n"
    sockets = [socket.create_connection(("127.0.0.1", daemon.port), timeout=60 * PATIENCE) for _ in range(clients)]
    for s in sockets:
        s.sendall(head.encode() + body[:-1])
    for s in sockets:
        s.sendall(body[-1:])
    replies = []
    for s in sockets:
        response = http.client.HTTPResponse(s, method="POST")
        response.begin()
        replies.append(Reply(response, "POST"))
        s.close()
    assert {r.status for r in replies} == {202}
    assert len({(r.json()["id"], r.headers["Location"]) for r in replies}) == 1
    assert sum(r.headers["Idempotency-Replayed"] is None for r in replies) == 1
    assert {r.headers["Idempotency-Replayed"] for r in replies} == {None, "true"}
    assert len(daemon.json("/v1/jobs")["data"]) == 1 and daemon.rows()["jobs"] == 1


def test_a_key_with_another_body_is_refused(standing):
    first = post(standing, "/v1/jobs", body_of(standing, num_candidates=3), Idempotency_Key="other-body")
    assert first.status == 202
    standing.succeed(first.json()["id"])
    with standing.keeps_nothing():
        r = post(standing, "/v1/jobs", body_of(standing, num_candidates=4), Idempotency_Key="other-body")
        assert (r.status, r.code) == (422, "idempotency-reuse")
        again = post(standing, "/v1/jobs", body_of(standing, num_candidates=3), Idempotency_Key="other-body")
        assert again.json()["id"] == first.json()["id"] and again.headers["Idempotency-Replayed"] == "true"
    assert standing.request("DELETE", f"/v1/jobs/{first.json()['id']}").status == 204
    r = post(standing, "/v1/jobs", body_of(standing, num_candidates=3), Idempotency_Key="other-body")
    assert (r.status, r.code) == (410, "gone")


def test_a_key_survives_a_restart(daemon):
    daemon.model_id, daemon.calibration_id = daemon.model(), daemon.calibration()
    first = post(daemon, "/v1/jobs", body_of(daemon), Idempotency_Key="k").json()["id"]
    daemon.kill()
    daemon.start()
    assert post(daemon, "/v1/jobs", body_of(daemon), Idempotency_Key="k").json()["id"] == first
    daemon.succeed(first)


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
def test_keys_that_are_none(standing, key):
    r = post(standing, "/v1/jobs", body_of(standing), Idempotency_Key=key)
    assert (r.status, r.code) == (422, "bad-param")


# ---- waiting ----

def test_prefer_wait_answers_with_the_finished_job(standing):
    r = post(standing, "/v1/jobs", body_of(standing, num_candidates=7), Prefer="respond-async, wait=30")
    assert r.status == 202 and r.json()["status"] == "succeeded" and r.headers["Preference-Applied"] == "wait=30"
    assert r.headers["Location"] == f"/v1/jobs/{r.json()['id']}" and r.headers["Retry-After"] is None


def test_prefer_wait_does_not_wait_longer(busy):
    r = post(busy, "/v1/jobs", body_of(busy), Prefer="wait=1")
    assert r.status == 202 and r.json()["status"] == "queued" and r.headers["Retry-After"]
    assert busy.get(f"/v1/jobs/{r.json()['id']}", Prefer="wait=1").json()["status"] == "queued"


def test_job_has_an_etag(standing):
    r = standing.get(f"/v1/jobs/{standing.job_id}")
    again = standing.get(f"/v1/jobs/{standing.job_id}", If_None_Match=r.headers["ETag"])
    assert (again.status, again.body) == (304, b"") and again.headers["ETag"] == r.headers["ETag"]


# ---- changing, listing ----

def test_patch_of_a_job(standing):
    before = standing.json(f"/v1/jobs/{standing.job_id}")
    r = patch(standing, f"/v1/jobs/{standing.job_id}", name="new", labels={"a": "b"}, priority=-3, visibility="private")
    assert r.status == 200
    after = standing.json(f"/v1/jobs/{standing.job_id}")
    assert after == r.json() == before | {"name": "new", "labels": {"a": "b"}, "priority": -3, "visibility": "private"}
    assert patch(standing, f"/v1/jobs/{standing.job_id}").json() == after
    patch(standing, f"/v1/jobs/{standing.job_id}", name="", labels={}, priority=0, visibility="team")
    assert standing.json(f"/v1/jobs/{standing.job_id}") == before


@pytest.mark.parametrize("kind", ["models", "calibrations"])
def test_patch_of_an_upload(standing, kind):
    url = f"/v1/{kind}/{standing.model_id if kind == 'models' else standing.calibration_id}"
    before = standing.json(url)
    assert patch(standing, url, name="n", labels={"x": "y"}).json() == before | {"name": "n", "labels": {"x": "y"}}
    r = patch(standing, url, priority=1)
    assert (r.status, r.code, r.pointers) == (422, "unknown-field", ["/priority"])
    assert patch(standing, url, name="", labels={}).json() == before


def test_a_change_may_want_the_object_unchanged(daemon):
    """If-Match: of several who change what they all read before, the first one does."""
    daemon.model_id, daemon.calibration_id = daemon.model(), daemon.calibration()
    job = daemon.job(daemon.model_id, daemon.calibration_id)
    daemon.succeed(job)
    for url in (f"/v1/models/{daemon.model_id}", f"/v1/calibrations/{daemon.calibration_id}", f"/v1/jobs/{job}"):
        tag = daemon.get(url).headers["ETag"]

        def change(i, url=url, tag=tag):
            return daemon.request("PATCH", url, json.dumps({"name": f"n{i}"}), JSON | {"If-Match": f'"other", {tag}'})
        replies = in_threads(8, change)
        assert sorted(r.status for r in replies) == [200] + [412] * 7
        assert {r.code for r in replies if r.status == 412} == {"precondition-failed"}
        won = next(r for r in replies if r.status == 200)
        now = daemon.get(url)
        assert now.json() == won.json() and now.headers["ETag"] == won.headers["ETag"] != tag
        assert daemon.request("PATCH", url, '{"name": "x"}', JSON | {"If-Match": "*"}).status == 200
        tag = daemon.get(url).headers["ETag"]
        assert daemon.request("PATCH", url, '{"name": "y"}', JSON | {"If-Match": f"W/{tag}"}).status == 412  # weak ones never match
        assert daemon.request("PATCH", url, '{"name": "y"}', JSON | {"If-Match": tag[:-1]}).status == 412  # no quote at its end
        assert daemon.request("DELETE", url, headers={"If-Match": tag}).code == "precondition-failed"
        assert daemon.json(url)["name"] == "x"
    assert daemon.request("PATCH", "/v1/jobs/job_1", "{}", JSON | {"If-Match": "*"}).status == 404


def test_list_filters_and_cursor(daemon):
    daemon.model_id, daemon.calibration_id = daemon.model(), daemon.calibration()
    jobs = []
    for i in range(7):
        r = daemon.submit(**body_of(daemon, num_candidates=1), name=f"run-{i % 2}", labels={"team": "a & b" if i % 3 else "c", "n": str(i)})
        jobs.append(r.json()["id"])
    daemon.succeed(jobs[-1])
    assert daemon.json("/v1/jobs")["data"] == [daemon.json(f"/v1/jobs/{j}") for j in reversed(jobs)]

    def listed(**query):
        found, target = [], "/v1/jobs?" + urllib.parse.urlencode(query | {"limit": 2})
        while target:
            r = daemon.get(target)
            found += [j["id"] for j in r.json()["data"]]
            link = re.fullmatch(r'<(.*)>; rel="next"', r.headers["Link"] or "")
            assert bool(link) == r.json()["has_more"]
            target = link and link[1]
        return sorted(found)
    assert listed() == listed(model=daemon.model_id) == listed(label="team") == listed(name="run-*") == jobs
    assert listed(name="run-0") == jobs[0::2] and listed(name="run") == []
    assert listed(label="team:c") == jobs[0::3] and listed(label="team:a & b") == [j for i, j in enumerate(jobs) if i % 3]
    assert listed(label="n:4") == [jobs[4]] and listed(label="m") == listed(model="mdl_1") == []
    assert listed(label="team:c", name="run-1") == [jobs[3]]
    assert listed(status="failed") == []


# ---- the queue ----

def test_priority_decides(busy):
    low, high, middle = (busy.submit(**body_of(busy, num_candidates=n), priority=p).json()["id"] for n, p in ((1, 0), (2, 9), (3, 5)))
    assert [busy.json(f"/v1/jobs/{j}")["queue_position"] for j in (low, high, middle)] == [3, 1, 2]
    assert [j["id"] for j in busy.json("/v1/queue")["jobs"]] == [busy.blocker, high, middle, low]
    patch(busy, f"/v1/jobs/{low}", priority=10)
    assert [busy.json(f"/v1/jobs/{j}")["queue_position"] for j in (low, high, middle)] == [1, 2, 3]
    post(busy, f"/v1/jobs/{busy.blocker}/cancel")
    ended = [busy.succeed(j)["started_at"] for j in (low, high, middle)]
    assert ended == sorted(ended)


def test_pause_of_a_queued_job(busy):
    job, other = (busy.job(busy.model_id, busy.calibration_id, num_candidates=n) for n in (1, 2))
    r = post(busy, f"/v1/jobs/{job}/pause")
    assert (r.status, r.json()["status"], r.json()["queue_position"]) == (202, "paused", None)
    assert post(busy, f"/v1/jobs/{job}/pause").status == 202
    post(busy, f"/v1/jobs/{busy.blocker}/cancel")
    busy.succeed(other)
    assert busy.json(f"/v1/jobs/{job}")["status"] == "paused"
    assert (busy.request("DELETE", f"/v1/jobs/{job}").code, busy.request("DELETE", f"/v1/models/{busy.model_id}").code) == ("bad-state", "in-use")
    assert post(busy, f"/v1/jobs/{job}/resume").status == 202
    busy.succeed(job)


def test_pause_of_a_running_job(daemon, long_calib, reference):
    job = daemon.job(daemon.model(), daemon.calibration(long_calib))
    daemon.running(job)
    assert post(daemon, f"/v1/jobs/{job}/pause").json()["status"] in ("pausing", "paused", "succeeded")
    until(lambda: daemon.json(f"/v1/jobs/{job}")["status"] in ("paused", "succeeded"), "the job has paused")
    assert daemon.children() == []
    daemon.kill()
    daemon.start()
    if daemon.json(f"/v1/jobs/{job}")["status"] == "paused":
        assert post(daemon, f"/v1/jobs/{job}/resume", Idempotency_Key="r").json()["status"] in ("queued", "running")
    daemon.succeed(job)
    assert daemon.encodings(job) == reference(calib=long_calib)
    assert post(daemon, f"/v1/jobs/{job}/pause").code == "bad-state"


def test_pause_and_cancel(busy):
    post(busy, f"/v1/jobs/{busy.blocker}/pause")
    post(busy, f"/v1/jobs/{busy.blocker}/cancel")
    assert busy.wait(busy.blocker)["status"] == "canceled"
    assert post(busy, f"/v1/jobs/{busy.blocker}/resume").code == "bad-state"


# ---- again ----

def test_retry_is_a_new_job_with_changed_params(standing, reference):
    assert post(standing, f"/v1/jobs/{standing.job_id}/retry", {"model": "mdl_1"}).pointers == ["/model"]
    r = post(standing, f"/v1/jobs/{standing.job_id}/retry", {"params": {"num_candidates": 6}, "name": "again"}, Idempotency_Key="retry-1")
    job = r.json()
    assert (r.status, job["retry_of"], job["name"], job["params"]["num_candidates"]) == (202, standing.job_id, "again", 6)
    assert post(standing, f"/v1/jobs/{standing.job_id}/retry", {"params": {"num_candidates": 6}, "name": "again"},
                Idempotency_Key="retry-1").json()["id"] == job["id"]
    standing.succeed(job["id"])
    assert standing.encodings(job["id"]) == reference(num_candidates=6)
    plain = post(standing, f"/v1/jobs/{standing.job_id}/retry").json()
    assert standing.succeed(plain["id"])["reused_from"] is None
    assert standing.encodings(plain["id"]) == reference()


def test_retry_of_a_canceled_job(daemon, long_calib, reference):
    job = daemon.job(daemon.model(), daemon.calibration(long_calib))
    daemon.running(job)
    assert post(daemon, f"/v1/jobs/{job}/retry").code == "bad-state"
    post(daemon, f"/v1/jobs/{job}/cancel")
    assert daemon.wait(job)["status"] == "canceled"
    again = post(daemon, f"/v1/jobs/{job}/retry").json()["id"]
    daemon.succeed(again)
    assert daemon.encodings(again) == reference(calib=long_calib)


def test_equal_jobs_share_results(standing, reference):
    r = standing.submit(**body_of(standing, threads=1), name="equal")  # threads never change a result
    job = r.json()
    assert (job["status"], job["name"], job["attempt"]) == ("succeeded", "equal", 0) and job["reused_from"]
    assert standing.encodings(job["id"]) == reference() and job["result"] == standing.json(f"/v1/jobs/{standing.job_id}")["result"]
    assert standing.json(f"/v1/jobs/{job['id']}/layers") == standing.json(f"/v1/jobs/{standing.job_id}/layers")
    own = standing.submit(**body_of(standing, reuse=False)).json()
    assert own["reused_from"] is None and standing.succeed(own["id"])["attempt"] == 1
    assert standing.request("DELETE", f"/v1/jobs/{job['id']}").status == 204
    assert standing.encodings(standing.job_id) == reference()


def test_deadline_ends_a_job(daemon, long_calib):
    job = daemon.job(daemon.model(), daemon.calibration(long_calib), **LONG, deadline_seconds=1)
    failed = daemon.wait(job)
    assert (failed["status"], failed["error"]["code"], failed["params"]["deadline_seconds"]) == ("failed", "deadline-exceeded", 1)
    assert 0.9 <= failed["usage"]["wall_seconds"] <= 3 * PATIENCE


# ---- starting from what another job found ----

def test_encodings_of_another_job(daemon):
    daemon.model_id, daemon.calibration_id = daemon.model(), daemon.calibration()
    first = daemon.job(daemon.model_id, daemon.calibration_id, param_bw=3)
    daemon.succeed(first)
    content = json.loads(daemon.encodings(first))
    by_id = daemon.job(daemon.model_id, daemon.calibration_id, load_encodings=first, load_as="freeze")
    by_content = daemon.job(daemon.model_id, daemon.calibration_id, load_encodings=content, load_as="freeze")
    daemon.succeed(by_id)
    daemon.succeed(by_content)
    assert daemon.encodings(by_id) == daemon.encodings(by_content)
    weights = {x["name"]: x["scale"] for x in json.loads(daemon.encodings(by_id))["param_encodings"]}
    assert all(weights[x["name"]] == x["scale"] and x["bw"] == 3 for x in content["param_encodings"] if x["name"] in weights and len(x["scale"]) > 1)
    assert daemon.json(f"/v1/jobs/{by_id}")["params"]["load_encodings"] == first  # not the file: lists stay short
    dry = post(daemon, "/v1/jobs?dry_run=true", body_of(daemon, load_encodings=first))
    assert (dry.status, dry.json()["estimate"] is not None) == (200, True), dry
    for wrong in ("job_1", "job_" + "0" * 32):
        r = post(daemon, "/v1/jobs", body_of(daemon, load_encodings=wrong))
        assert (r.status, r.code, r.pointers) == (422, "bad-param", ["/params/load_encodings"])
    r = post(daemon, "/v1/jobs", body_of(daemon, load_encodings="model.encodings"))
    assert (r.code, r.pointers) == ("bad-param", ["/params/load_encodings"])


def test_a_job_that_others_start_from_stays(busy):
    first = busy.job(busy.model_id, busy.calibration_id, num_candidates=2)
    busy.request("PATCH", f"/v1/jobs/{first}", '{"priority": 9}', JSON)
    post(busy, f"/v1/jobs/{busy.blocker}/cancel")
    busy.succeed(first)
    blocker = busy.job(busy.model_id, busy.calibration(), **LONG)
    busy.running(blocker)
    later = busy.job(busy.model_id, busy.calibration_id, load_encodings=first, num_candidates=5)
    assert busy.request("DELETE", f"/v1/jobs/{first}").code == "in-use"
    post(busy, f"/v1/jobs/{later}/cancel")
    assert busy.request("DELETE", f"/v1/jobs/{first}").status == 204
    post(busy, f"/v1/jobs/{blocker}/cancel")


# ---- a dry run ----

def test_dry_run_keeps_nothing(standing):
    post(standing, "/v1/jobs?dry_run=true", body_of(standing, num_batches=2))  # whether it fits is remembered
    with standing.keeps_nothing():
        r = post(standing, "/v1/jobs?dry_run=true", body_of(standing, num_batches=2, reuse=False))
        seen = r.json()
        assert (r.status, seen["samples"], seen["samples_used"], seen["searchable"], seen["reuse"]) == (200, 256, 64, 6, None)
        assert [{k: v for k, v in x.items() if k != "settings"} for x in seen["layers"]] == standing.json(f"/v1/models/{standing.model_id}/layers")["data"]
        assert seen["params"]["num_batches"] == 2 and [w["code"] for w in seen["warnings"]] == ["samples-unused"]
        assert post(standing, "/v1/jobs?dry_run=true", body_of(standing)).json()["reuse"]
        assert post(standing, "/v1/jobs?dry_run=true", body_of(standing, param_bw=99)).pointers == ["/params/param_bw"]
        assert post(standing, "/v1/jobs?dry_run=true", body_of(standing) | {"model": "mdl_1"}).status == 404


def test_dry_run_says_what_the_job_would_take(standing):
    """Its bytes; of its seconds, which depend on what else the machine does, make bench has the comparison."""
    seen = post(standing, "/v1/jobs?dry_run=true", body_of(standing, reuse=False)).json()
    estimate, job = seen["estimate"], standing.json(f"/v1/jobs/{standing.job_id}")
    assert set(estimate) == {"seconds", "peak_bytes", "spilled_bytes", "phases"} and estimate["spilled_bytes"] == 0
    assert estimate["seconds"] == pytest.approx(sum(estimate["phases"].values()))
    assert all(estimate["phases"][p] > 0 for p in ("load", "graph", "gram", "search", "calibrate", "export"))
    assert job["usage"]["peak_rss_bytes"] / 2 < estimate["peak_bytes"] < job["usage"]["peak_rss_bytes"] * 2
    more = post(standing, "/v1/jobs?dry_run=true", body_of(standing, num_candidates=1000)).json()["estimate"]["phases"]
    assert more["search"] > estimate["phases"]["search"]


def test_dry_run_measures_the_machine_once(daemon):
    model, calibration = daemon.model(), daemon.calibration()
    rates = daemon.state / "rates.json"
    body = {"model": model, "calibration": calibration}
    for damage in (None, b"{", b"{}", b'[{"machine": "another", "threads": 1, "rates": []}]'):
        if damage:
            daemon.stop()
            rates.write_bytes(damage)
            daemon.start()
        assert post(daemon, "/v1/jobs?dry_run=true", body).json()["estimate"]
        kept = rates.read_bytes()
        measured = json.loads(kept)[0]["rates"]
        assert measured and all(rate > 0 for rate in measured)
        assert post(daemon, "/v1/jobs?dry_run=true", body).json()["estimate"]
        assert rates.read_bytes() == kept


def test_dry_run_knows_what_would_be_searched(standing):
    everything = standing.json(f"/v1/models/{standing.model_id}/layers")["data"]
    params = {"exclude": ["/9/*"], "loss_fn": "l1", "overrides": [{"match": {"op_type": "Gemm"}, "param_bw": 8, "num_candidates": 7}]}
    r = post(standing, "/v1/jobs?dry_run=true", body_of(standing, **params))
    assert r.status == 200, r
    layers = r.json()["layers"]
    assert [x["node"] for x in layers] == [x["node"] for x in everything]
    for x in layers:
        assert x["searchable"] == (not x["node"].startswith("/9/")) and (x["reason"] == "excluded") == x["node"].startswith("/9/")
        gemm = x["op_type"] == "Gemm"
        assert x.get("settings") == (None if not x["searchable"] else {"param_bw": 8 if gemm else 4, "symmetric": True, "granularity": "per_channel",
                                     "block_size": 0, "candidates": 7 if gemm else 20, "loss_fn": "l1"})
    assert r.json()["searchable"] == sum(x["searchable"] for x in layers) < len(everything)
    only = post(standing, "/v1/jobs?dry_run=true", body_of(standing, include=["/0/Conv"])).json()
    assert [x["node"] for x in only["layers"] if x["searchable"]] == ["/0/Conv"] and only["searchable"] == 1
    with standing.keeps_nothing():
        r = post(standing, "/v1/jobs?dry_run=true", body_of(standing, include=["/nothing/*"]))
        assert (r.status, r.code) == (422, "bad-param") and r.pointers[0].startswith("/params"), r


def test_pollers_hear_of_a_pause(busy):
    """A long poll goes on over a pause: only an end ends it."""
    ended = []
    waiter = threading.Thread(target=lambda: ended.append(busy.json(f"/v1/jobs/{busy.blocker}?wait=20")["status"]))
    waiter.start()
    post(busy, f"/v1/jobs/{busy.blocker}/pause")
    until(lambda: busy.json(f"/v1/jobs/{busy.blocker}")["status"] == "paused", "paused")
    assert ended == []
    post(busy, f"/v1/jobs/{busy.blocker}/cancel")
    waiter.join()
    assert ended == ["canceled"]
