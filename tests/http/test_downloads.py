"""Downloads and lists, as caches, resuming clients and scripts use them."""
import base64
import hashlib
import json

import pytest

from daemon import CALIB, MODEL, until


@pytest.fixture(name="files", scope="module")
def fixture_files(standing):
    """Targets of everything that can be downloaded, with the bytes that are expected, where they are known."""
    job = f"/v1/jobs/{standing.job_id}"
    return {f"/v1/models/{standing.model_id}/content": MODEL.read_bytes(),
            f"/v1/calibrations/{standing.calibration_id}/content": CALIB.read_bytes(),
            f"{job}/encodings": None, f"{job}/encodings?version=0.6.1": None, f"{job}/artifacts/report.json": None}


def test_whole_file(standing, files):
    for target, expected in files.items():
        r = standing.get(target)
        assert r.status == 200 and r.body == (expected or r.body) and r.body
        assert int(r.headers["Content-Length"]) == len(r.body)
        sha256 = hashlib.sha256(r.body)
        assert r.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:"
        assert r.headers["ETag"] == f'"{sha256.hexdigest()}"'
        assert r.headers["Accept-Ranges"] == "bytes" and r.headers["X-Content-Type-Options"] == "nosniff"
        assert r.headers["Content-Disposition"].startswith("attachment; filename=")


def test_head(standing, files):
    for target in [*files, "/livez", f"/v1/jobs/{standing.job_id}"]:
        get, head = standing.get(target), standing.request("HEAD", target)
        assert head.status == 200 and head.body == b""
        for name in ("Content-Length", "ETag", "Content-Type", "Repr-Digest", "Content-Disposition"):
            assert head.headers[name] == get.headers[name], (target, name)
    assert standing.request("HEAD", "/v1/jobs/x").status == 404


def test_if_none_match(standing, files):
    for target in [*files, f"/v1/jobs/{standing.job_id}", f"/v1/models/{standing.model_id}"]:
        tag = standing.get(target).headers["ETag"]
        for condition in (tag, f'"x", {tag}', f"W/{tag}", "*"):
            r = standing.get(target, If_None_Match=condition)
            assert (r.status, r.body, r.headers["ETag"]) == (304, b"", tag), (target, condition)
        for condition in ('"x"', tag.strip('"'), "", 'W/"x"'):
            assert standing.get(target, If_None_Match=condition).status == 200, (target, condition)


def test_range(standing):
    target, whole = f"/v1/models/{standing.model_id}/content", MODEL.read_bytes()
    n = len(whole)
    for text, first, last in (("0-0", 0, 0), ("0-99", 0, 99), ("100-", 100, n - 1), ("-7", n - 7, n - 1), (f"5-{n * 9}", 5, n - 1),
                              (f"-{n * 9}", 0, n - 1), (f"{n - 1}-", n - 1, n - 1), ("0-", 0, n - 1)):
        r = standing.get(target, Range=f"bytes={text}")
        assert r.status == 206 and r.body == whole[first:last + 1], text
        assert r.headers["Content-Range"] == f"bytes {first}-{last}/{n}"
    # What is no single range of bytes is as if it were not there (RFC 9110).
    for text in ("bytes=2-1", "bytes=0-1,5-6", "bytes=x-", "lines=1-2", "bytes=", "bytes=-", "0-1"):
        r = standing.get(target, Range=text)
        assert r.status == 200 and r.body == whole, text
    for text in (f"bytes={n}-", f"bytes={n * 2}-{n * 3}", "bytes=-0"):
        r = standing.get(target, Range=text)
        assert (r.status, r.code) == (416, "bad-range") and r.headers["Content-Range"] == f"bytes */{n}", text
    head = standing.request("HEAD", target, headers={"Range": "bytes=0-9"})
    assert head.status in (200, 206) and head.body == b""


def test_if_range_and_if_match(standing):
    target = f"/v1/models/{standing.model_id}/content"
    tag = standing.get(target).headers["ETag"]
    assert standing.get(target, Range="bytes=0-9", If_Range=tag).status == 206
    for other in ('"x"', f"W/{tag}", "Mon, 01 Jan 2024 00:00:00 GMT"):
        assert standing.get(target, Range="bytes=0-9", If_Range=other).status == 200
    assert standing.get(target, If_Match=tag).status == 200
    r = standing.get(target, If_Match='"x"')
    assert (r.status, r.code) == (412, "precondition-failed")


def test_download_in_pieces(standing):
    target, whole = f"/v1/models/{standing.model_id}/content", MODEL.read_bytes()
    got = b""
    while len(got) < len(whole):
        got += standing.get(target, Range=f"bytes={len(got)}-{len(got) + 9999}").body
    assert got == whole


@pytest.mark.parametrize("name, plain, encoded", [
    ("a.onnx", "a.onnx", "a.onnx"), ("my%20model%22.onnx", "my_model_.onnx", "my%20model%22.onnx"),
    ("%C3%A4.onnx", "__.onnx", "%C3%A4.onnx"), ("..%2F..%2Fx", ".._.._x", "..%2F..%2Fx"), ("", "model.onnx", "model.onnx"),
])
def test_name_of_a_download(daemon, name, plain, encoded):
    model = daemon.upload("models", MODEL, f"?name={name}")
    r = daemon.get(f"/v1/models/{model['id']}/content")
    assert r.headers["Content-Disposition"] == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def test_connection_serves_many_requests(standing):
    c = standing.connection()
    for _ in range(50):
        c.request("GET", f"/v1/jobs/{standing.job_id}")
        r = c.getresponse()
        assert r.status == 200 and r.read()
        c.request("GET", "/v1/nothing")
        r = c.getresponse()
        assert r.status == 404 and r.read()
    c.close()


def test_pages(daemon):
    model = daemon.model()
    calibration = daemon.calibration()
    jobs = [daemon.job(model, calibration, num_candidates=1) for _ in range(7)]
    for job in jobs:
        daemon.succeed(job)
    newest_first = jobs[::-1]
    assert [j["id"] for j in daemon.json("/v1/jobs")["data"]] == newest_first
    for limit in (1, 3, 7, 8):
        seen, target = [], f"/v1/jobs?limit={limit}&status=succeeded"
        while target:
            r = daemon.get(target)
            page = r.json()
            assert len(page["data"]) <= limit
            seen += [j["id"] for j in page["data"]]
            assert page["has_more"] == (page["next"] is not None) == (r.headers["Link"] is not None)
            if page["has_more"]:
                assert page["next"] == seen[-1]
                target, rel = r.headers["Link"].split(";")
                target = target.strip("<>")
                assert rel.strip() == 'rel="next"' and f"after={seen[-1]}" in target
            else:
                target = None
        assert seen == newest_first, limit
    assert daemon.json("/v1/jobs?status=failed")["data"] == []
    assert daemon.json(f"/v1/jobs?after={jobs[2]}")["data"][0]["id"] == jobs[1]
    # A cursor whose object is gone still says where to go on.
    assert daemon.request("DELETE", f"/v1/jobs/{jobs[2]}").status == 204
    assert daemon.json(f"/v1/jobs?after={jobs[2]}")["data"][0]["id"] == jobs[1]
    for kind, one in (("models", model), ("calibrations", calibration)):
        page = daemon.json(f"/v1/{kind}?limit=1")
        assert [o["id"] for o in page["data"]] == [one] and not page["has_more"]


def test_events(standing):
    target = f"/v1/jobs/{standing.job_id}/events"
    events = standing.json(target)["data"]
    assert [e["id"] for e in events] == list(range(1, len(events) + 1))
    assert [e["data"]["status"] for e in events if e["event"] == "status"] == ["queued", "running", "succeeded"]
    assert [e["data"]["layer"] for e in events if e["event"] == "layer"] == list(range(6))
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)
    seen, after = [], 0
    while True:
        page = standing.json(f"{target}?limit=4&after={after}")
        seen += page["data"]
        if not page["has_more"]:
            break
        after = page["next"]
    assert seen == events


# ---- encodings before the end ----

OVERRIDES = [{"match": {"name": "/0/Conv"}, "granularity": "per_tensor"}, {"match": {"op_type": "Gemm"}, "granularity": "block", "block_size": 8},
             {"match": {"name": "/6/Conv"}, "symmetric": False}]


def weights(text, version):
    """Entries of the file by tensor."""
    o = json.loads(text)
    if version.startswith("2"):
        return {x["name"]: x for x in o["encodings"]}
    return o["param_encodings"] if version == "0.6.1" else {x["name"]: x for x in o["param_encodings"]}


@pytest.mark.parametrize("version", ["0.6.1", "1.0.0", "2.0.0", "2.1.0"])
def test_partial_encodings_are_those_of_the_end(start, long_calib, version):
    daemon = start("--threads-per-job", "1")
    job = daemon.job(daemon.model(), daemon.calibration(long_calib), overrides=OVERRIDES)
    url = f"/v1/jobs/{job}/encodings?version={version}"
    seen = []

    def partial(job_url=url):
        r = daemon.get(job_url + "&partial=1")
        assert r.status == 200 or r.code == "job-not-finished", r
        return r if r.status == 200 else None
    seen.append(until(partial, "a layer is finished"))
    assert "attachment" in seen[0].headers["Content-Disposition"]
    until(lambda: len(daemon.json(f"/v1/jobs/{job}/layers")["data"]) >= 3, "three layers are finished")
    daemon.kill()
    daemon.start("--threads-per-job", "1", "--workers", "1")
    seen.append(partial())
    daemon.request("POST", f"/v1/jobs/{job}/cancel")
    ended = daemon.wait(job)
    assert ended["status"] in ("canceled", "succeeded")
    if ended["status"] == "canceled":
        assert daemon.get(url).code == "bad-state"
        seen.append(partial())
        again = daemon.request("POST", f"/v1/jobs/{job}/retry").json()["id"]
        daemon.succeed(again)
        url = url.replace(job, again)
    whole = daemon.get(url)
    assert partial(url).body == whole.body  # of a job that has succeeded it is the whole
    final, before = weights(whole.body, version), {}
    for r in seen:
        now = weights(r.body, version)
        assert before.items() <= now.items() and all(final[name] == entry for name, entry in now.items()), (now, final)
        before = now
    assert len(before) >= 3


def test_partial_encodings_that_are_not_there(standing):
    url = f"/v1/jobs/{standing.job_id}/encodings?partial="
    assert standing.get(url + "2").pointers == ["?partial"] and standing.get(url).pointers == ["?partial"]
    assert standing.get(url + "1").body == standing.get(url + "0").body == standing.encodings(standing.job_id)
    assert standing.get("/v1/jobs/job_1/encodings?partial=1").code == "not-found"
    job = standing.job(standing.model_id, standing.calibration_id, num_candidates=100000)
    standing.request("POST", f"/v1/jobs/{job}/cancel")
    standing.wait(job)
    assert standing.get(f"/v1/jobs/{job}/encodings?partial=1").code == "bad-state"
