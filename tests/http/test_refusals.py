"""Requests that are wrong: each is refused with its own status and code, and leaves nothing behind."""
import contextlib
import http.client
import io
import json
import socket
import subprocess

import numpy
import pytest

from daemon import CALIB, MODEL, PATIENCE, SEQMSED, ZOO, Daemon, until

JSON = {"Content-Type": "application/json"}


def npz(**arrays):
    out = io.BytesIO()
    numpy.savez(out, **arrays)
    return out.getvalue()


def refused(daemon, status, code, method, target, body=None, headers=None):
    with daemon.keeps_nothing():
        r = daemon.request(method, target, body, headers)
        assert (r.status, r.code) == (status, code), r
    return r


@pytest.fixture(autouse=True)
def _still_serves(request):
    yield
    if "standing" in request.fixturenames:
        assert request.getfixturevalue("standing").json("/livez")["status"] == "ok"


# ---- uploads ----

@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("body", [b"", b"not a model", MODEL.read_bytes()[:-1000], b"\0" * 100, CALIB.read_bytes(), b"\x08" * 70000],
                         ids=["empty", "text", "cut", "zeros", "npz", "bytes"])
def test_model_that_is_none(standing, method, body):
    refused(standing, 422, "not-an-onnx", method, "/v1/models", body)


@pytest.mark.parametrize("body", [b"", b"not an archive", CALIB.read_bytes()[:-10], MODEL.read_bytes()],
                         ids=["empty", "text", "cut", "onnx"])
def test_calibration_that_is_none(standing, body):
    refused(standing, 422, "calibration-mismatch", "PUT", "/v1/calibrations", body)


@pytest.mark.parametrize("arrays, about", [
    ({}, "image"),
    ({"picture": numpy.zeros((4, 1, 8, 8), "f4"), "label": numpy.zeros(4, "i8")}, "image"),
    ({"image": numpy.zeros((4, 3, 8, 8), "f4")}, "image"),
    ({"image": numpy.zeros((4, 64), "f4")}, "image"),
    ({"image": numpy.zeros((4, 1, 8, 8), "?")}, "image"),
    ({"image": numpy.array([None] * 256).reshape((4, 1, 8, 8))}, "image"),
], ids=["empty", "name", "shape", "rank", "type", "pickle"])
def test_calibration_that_does_not_fit(standing, arrays, about):
    r = refused(standing, 422, "calibration-mismatch", "PUT", f"/v1/calibrations?model={standing.model_id}", npz(**arrays))
    assert f"/{about}" in r.pointers, r


def test_calibration_without_samples(standing):
    body = npz(image=numpy.zeros((0, 1, 8, 8), "f4"))
    r = refused(standing, 422, "calibration-mismatch", "PUT", f"/v1/calibrations?model={standing.model_id}", body)
    assert r.pointers == ["/image"]


def test_calibration_that_does_not_fit_is_found_at_submit_too(standing):
    model = standing.model(ZOO / "two_inputs.onnx")
    with standing.keeps_nothing():
        r = standing.submit(model=model, calibration=standing.calibration_id)
        assert (r.status, r.code) == (422, "calibration-mismatch")
        assert len(r.pointers) == 2, r  # one entry an input


def test_known_calibration_that_does_not_fit(standing):
    model = standing.model(ZOO / "two_inputs.onnx")
    refused(standing, 422, "calibration-mismatch", "PUT", f"/v1/calibrations?model={model}", CALIB.read_bytes())


def test_archive_without_arrays(standing):
    refused(standing, 422, "calibration-mismatch", "PUT", "/v1/calibrations", b"PK\5\6" + bytes(18))


def test_calibration_for_an_unknown_model(standing):
    refused(standing, 404, "not-found", "PUT", "/v1/calibrations?model=mdl_00000000000070008000000000000000", CALIB.read_bytes())


def head(method, target, *lines):
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def test_client_that_resets_the_connection(standing):
    with standing.keeps_nothing():
        for _ in range(5):
            s = socket.create_connection(("127.0.0.1", standing.port))
            s.sendall(head("PUT", "/v1/models", "Content-Length: 1000000") + b"x" * 50000)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()


def test_announced_digest_that_is_wrong(standing):
    wrong = {"Content-Digest": "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"}
    refused(standing, 422, "bad-param", "PUT", "/v1/models", MODEL.read_bytes(), wrong)
    refused(standing, 422, "bad-param", "PUT", "/v1/models", b"x", {"Repr-Digest": "sha-256=nonsense"})


@pytest.mark.parametrize("header, value", [("Content-Type", "multipart/form-data; boundary=x"), ("Content-Encoding", "gzip")])
def test_upload_in_the_wrong_form(standing, header, value):
    for kind in ("models", "calibrations", "encodings"):
        refused(standing, 415, "unsupported-media", "POST", f"/v1/{kind}", b"x", {header: value})


# ---- too large, decided by the head ----

@pytest.fixture(name="small", scope="module")
def fixture_small(tmp_path_factory):
    d = Daemon(tmp_path_factory.mktemp("small"), "--max-model-bytes", "1M", "--max-calibration-bytes", "100K")
    d.start()
    yield d
    d.close()


@pytest.mark.parametrize("size", [0, 1, 40000])
@pytest.mark.parametrize("target, path", [("/v1/models", MODEL), ("/v1/calibrations", CALIB)])
def test_body_that_ends_early(small, target, path, size):
    body = path.read_bytes()[:size]
    with small.keeps_nothing():
        small.raw(head("PUT", target, "Content-Length: 98850") + body[:98000], "PUT", half_close=True)


@pytest.mark.parametrize("tail", [b"", b"10", b"10\r\nabc", b"3\r\nabc\r\n", b"zz\r\nabc\r\n0\r\n\r\n", b"-1\r\nabc\r\n0\r\n\r\n",
                                  b"ffffffffffffffffff\r\nabc\r\n"],
                         ids=["nothing", "size", "middle", "no-end", "no-number", "negative", "too-large"])
def test_chunks_that_end_early(small, tail):
    body = MODEL.read_bytes()[:20000]
    with small.keeps_nothing():
        r = small.raw(head("PUT", "/v1/models", "Transfer-Encoding: chunked") + b"%x\r\n" % len(body) + body + b"\r\n" + tail, "PUT",
                         half_close=True, checked=False)
        assert r is None or r.status in (400, 413)


@pytest.mark.parametrize("target, size", [("/v1/models", 1 << 20), ("/v1/calibrations", 100 << 10), ("/v1/jobs", 64 << 10)])
@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)], ids=["plain", "expect"])
def test_too_large_is_said_before_the_body(small, target, size, expect):
    method = "POST" if target == "/v1/jobs" else "PUT"
    for length in (size * 2, 10**15):
        with small.keeps_nothing():
            r = small.raw(head(method, target, f"Content-Length: {length}", "Content-Type: application/json", *expect), method)
            assert (r.status, r.code) == (413, "too-large")


def test_too_large_without_an_announcement(small):
    piece = b"%x\r\n" % 50000 + b"x" * 50000 + b"\r\n"
    with small.keeps_nothing():
        r = small.raw(head("PUT", "/v1/calibrations", "Transfer-Encoding: chunked") + piece * 3 + b"0\r\n\r\n", "PUT")
        assert (r.status, r.code) == (413, "too-large")


def test_just_large_enough(small):
    r = small.request("PUT", "/v1/calibrations", b"x" * (100 << 10))
    assert (r.status, r.code) == (422, "calibration-mismatch")
    r = small.request("PUT", "/v1/calibrations", b"x" * ((100 << 10) + 1))
    assert (r.status, r.code) == (413, "too-large")


def test_expected_head_is_answered_with_continue(small):
    with socket.create_connection(("127.0.0.1", small.port), timeout=20 * PATIENCE) as s:
        s.sendall(head("PUT", "/v1/calibrations", "Content-Length: 10", "Expect: 100-continue"))
        assert s.recv(100).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"0123456789")
        assert s.recv(100).startswith(b"HTTP/1.1 422 ")


# ---- JSON ----

def job_body(daemon, **more):
    return {"model": daemon.model_id, "calibration": daemon.calibration_id, **more}


@pytest.mark.parametrize("change, code, pointer", [
    ({"no_such": 1}, "unknown-field", "/no_such"),
    ({"Model": "x"}, "unknown-field", "/Model"),
    ({"model": 1}, "bad-param", "/model"),
    ({"model": None}, "bad-param", "/model"),
    ({"calibration": ["x"]}, "bad-param", "/calibration"),
    ({"name": "x" * 201}, "bad-param", "/name"),
    ({"name": {}}, "bad-param", "/name"),
    ({"labels": []}, "bad-param", "/labels"),
    ({"labels": {"a": 1}}, "bad-param", "/labels"),
    ({"labels": {str(i): "" for i in range(33)}}, "bad-param", "/labels"),
    ({"params": []}, "bad-param", "/params"),
    ({"params": None}, "bad-param", "/params"),
    ({"params": {"no_such": 1}}, "unknown-field", "/params/no_such"),
    ({"params": {"loss_fn": "no such"}}, None, "/params/loss_fn"),
    ({"params": {"param_bw": 1}}, "bad-param", "/params/param_bw"),
    ({"params": {"param_bw": 33}}, "bad-param", "/params/param_bw"),
    ({"params": {"param_bw": "4"}}, "bad-param", "/params/param_bw"),
    ({"params": {"param_bw": 4.5}}, "bad-param", "/params/param_bw"),
    ({"params": {"param_bw": True}}, "bad-param", "/params/param_bw"),
    ({"params": {"param_bw": None}}, "bad-param", "/params/param_bw"),
    ({"params": {"weight_bits": 0}}, "bad-param", "/params/weight_bits"),
    ({"params": {"weight_bits": 4, "param_bw": 4}}, "bad-param", None),
    ({"params": {"num_candidates": 0}}, "bad-param", "/params/num_candidates"),
    ({"params": {"num_candidates": -1}}, "bad-param", "/params/num_candidates"),
    ({"params": {"num_candidates": 2**63 - 1}}, "bad-param", "/params/num_candidates"),
    ({"params": {"batch_size": -1}}, "bad-param", "/params/batch_size"),
    ({"params": {"threads": 10**6}}, "bad-param", "/params/threads"),
    ({"params": {"granularity": "row"}}, "bad-param", "/params/granularity"),
    ({"params": {"granularity": "block"}}, "bad-param", "/params/granularity"),
    ({"params": {"block_size": 8}}, "bad-param", "/params/block_size"),
    ({"params": {"lpbq": True}}, "bad-param", "/params/lpbq"),
    ({"params": {"overrides": [{"match": {"name": "*"}, "param_bw": 4}, {"match": {"nam": "*"}, "param_bw": 4}]}}, "unknown-field",
     "/params/overrides/1/match/nam"),
    ({"params": {"overrides": [{"match": {"name": "*"}, "granularity": "block"}]}}, "bad-param", "/params/overrides/0/granularity"),
    ({"params": {"load_encodings": {"version": "7"}}}, "bad-param", "/params/load_encodings"),
    ({"params": {"include": "x"}}, "bad-param", "/params/include"),
    ({"params": {"include": ["x", 1]}}, "bad-param", "/params/include/1"),
    ({"params": {"exclude": ["x" * 1001]}}, "bad-param", "/params/exclude/0"),
], ids=lambda v: json.dumps(v)[:40] if isinstance(v, dict) else "")
def test_member_that_is_wrong(standing, change, code, pointer):
    with standing.keeps_nothing():
        r = standing.submit(**{**job_body(standing), **change})
        assert r.status == 422 and r.code in ((code,) if code else ("unknown-field", "bad-param")), r
        assert r.pointers == [pointer] if pointer else len(r.pointers) == 1, r


@pytest.mark.parametrize("missing", ["model", "calibration"])
def test_member_that_is_missing(standing, missing):
    body = {k: v for k, v in job_body(standing).items() if k != missing}
    r = refused(standing, 422, "bad-param", "POST", "/v1/jobs", json.dumps(body), JSON)
    assert r.pointers == [f"/{missing}"]


@pytest.mark.parametrize("body", [
    "", " ", "{", "[]", "null", "1", '"x"', "{} {}", "{}x", '{"model":"a",}', "{'model':'a'}", '{"model":"a","model":"a"}',
    '{"params":{"param_bw":4,"param_bw":4}}', '{"model":NaN}', '{"model":1e999}', '{"params":{"param_bw":1' + "0" * 400 + "}}",
    "{}\0", '{"model":"a\\u0000b"}', '{"model":"\\ud800"}', b'{"model":"\xff"}', b'\xef\xbb\xbf{}', '{"model":"a\nb"}',
    "[" * 40 + "]" * 40, '{"params":' * 40 + "1" + "}" * 40, "[" * 20000,
], ids=range(25))
def test_body_that_is_no_object(standing, body):
    r = refused(standing, 422, "bad-param", "POST", "/v1/jobs", body, JSON)
    assert len(r.pointers) == 1


def test_json_that_is_too_large(standing):
    refused(standing, 413, "too-large", "POST", "/v1/jobs", json.dumps(job_body(standing, name="x" * 66000)), JSON)
    piece = b"%x\r\n" % 40000 + b" " * 40000 + b"\r\n"
    with standing.keeps_nothing():
        r = standing.raw(head("POST", "/v1/jobs", "Content-Type: application/json", "Transfer-Encoding: chunked") + piece * 2 +
                         b"0\r\n\r\n", "POST")
        assert (r.status, r.code) == (413, "too-large")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"])
def test_json_that_does_not_say_so(standing, kind):
    refused(standing, 415, "unsupported-media", "POST", "/v1/jobs", json.dumps(job_body(standing)), {"Content-Type": kind} if kind else {})


# ---- objects ----

UNKNOWN = "01234567890170008000000000000000"


@pytest.mark.parametrize("method, target", [
    *[("GET", f"/v1/{kind}/{prefix}_{UNKNOWN}{rest}") for kind, prefix, rests in (
        ("models", "mdl", ("", "/layers", "/content")), ("calibrations", "cal", ("", "/content")), ("encodings", "enc", ("", "/content")),
        ("jobs", "job", ("", "?wait=5", "/layers", "/events", "/encodings", "/artifacts", "/artifacts/report.json"))) for rest in rests],
    ("DELETE", f"/v1/models/mdl_{UNKNOWN}"), ("DELETE", f"/v1/calibrations/cal_{UNKNOWN}"), ("DELETE", f"/v1/encodings/enc_{UNKNOWN}"), ("DELETE", f"/v1/jobs/job_{UNKNOWN}"),
    ("POST", f"/v1/jobs/job_{UNKNOWN}/cancel"), ("PUT", f"/v1/models/mdl_{UNKNOWN}/files/x"), ("GET", "/v1/jobs/x"),
    ("GET", "/v1/models/job_" + UNKNOWN), ("GET", "/v1/jobs/" + "x" * 3000), ("GET", "/v1/jobs/%27%20OR%201=1"),
])
def test_object_that_is_not_there(standing, method, target):
    refused(standing, 404, "not-found", method, target)


def test_job_of_unknown_objects(standing):
    for body, pointer in (({"model": f"mdl_{UNKNOWN}"}, "/model"), ({"calibration": f"cal_{UNKNOWN}"}, "/calibration"),
                          ({"model": standing.calibration_id}, "/model")):
        r = refused(standing, 404, "not-found", "POST", "/v1/jobs", json.dumps({**job_body(standing), **body}), JSON)
        assert r.pointers == [pointer]


def test_what_a_live_job_needs_stays(start, long_calib):
    daemon = start("--workers", "1")
    model, slow, quick = daemon.model(), daemon.calibration(long_calib), daemon.calibration()
    running, queued = daemon.job(model, slow, num_candidates=100000), daemon.job(model, quick)
    daemon.running(running)
    for what, code in ((f"models/{model}", "in-use"), (f"calibrations/{slow}", "in-use"), (f"calibrations/{quick}", "in-use"),
                       (f"jobs/{running}", "bad-state"), (f"jobs/{queued}", "bad-state")):
        r = daemon.request("DELETE", f"/v1/{what}")
        assert (r.status, r.code) == (409, code), what
    for what in ("encodings", "encodings?version=0.6.1", "artifacts/report.json"):
        for job in (running, queued):
            r = daemon.get(f"/v1/jobs/{job}/{what}")
            assert (r.status, r.code) == (409, "job-not-finished")
    for job in (running, queued):
        assert daemon.request("POST", f"/v1/jobs/{job}/cancel").status == 202
        daemon.wait(job)
    # Now everything may go, and then nothing is left.
    for what in (f"models/{model}", f"calibrations/{slow}", f"calibrations/{quick}", f"jobs/{running}", f"jobs/{queued}"):
        assert daemon.request("DELETE", f"/v1/{what}").status == 204
        assert daemon.get(f"/v1/{what}").status == 404
    until(lambda: set(daemon.files()) == {"lock"}, "all files are gone", 2)
    assert all(n == 0 for t, n in daemon.rows().items() if t not in ("schema_migrations", "fits", "turns"))


def test_finished_job_keeps_its_result_without_its_model(daemon, reference):
    model, calibration = daemon.model(), daemon.calibration()
    job = daemon.job(model, calibration)
    daemon.succeed(job)
    for what in (f"models/{model}", f"calibrations/{calibration}"):
        assert daemon.request("DELETE", f"/v1/{what}").status == 204
    assert daemon.encodings(job) == reference()
    assert daemon.request("DELETE", f"/v1/jobs/{job}").status == 204
    assert daemon.get(f"/v1/jobs/{job}/encodings").status == 404
    until(lambda: set(daemon.files()) == {"lock"}, "all files are gone", 2)


def field(number, value):
    """A field of a protobuf message: a small number, or bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def test_model_without_layers_to_search(standing):
    tensor = field(2, field(1, field(1, 1) + field(2, field(1, field(1, 4)))))  # float, [4]
    node = field(1, b"x") + field(2, b"y") + field(4, b"Relu")
    graph = field(1, node) + field(2, b"g") + field(11, field(1, b"x") + tensor) + field(12, field(1, b"y") + tensor)
    model = standing.upload("models", field(1, 8) + field(8, field(2, 17)) + field(7, graph))
    assert model["layers"] == {"total": 0, "searchable": 0} and model["inputs"] == [{"name": "x", "type": "float", "shape": [4]}]
    with standing.keeps_nothing():
        r = standing.submit(model=model["id"], calibration=standing.calibration_id)
        assert (r.status, r.code) == (422, "unsupported-graph")


# ---- routes, methods, queries ----

@pytest.mark.parametrize("target", ["/v1", "/v2/models", "/v1/models/", "/v1/nothing", "/v1/jobs/x/y/z", "//v1/models", "/V1/models",
                                    "/v1/../v1/models", "/..%2f..%2fetc/passwd"])
def test_route_that_is_not_there(standing, target):
    r = standing.get(target)
    assert (r.status, r.code) == (404, "not-found")


@pytest.mark.parametrize("method, target, allowed", [
    ("DELETE", "/v1/models", {"GET", "HEAD", "POST", "PUT"}), ("POST", "/v1/models/x", {"GET", "HEAD", "DELETE"}),
    ("PUT", "/v1/jobs", {"GET", "HEAD", "POST"}), ("GET", "/v1/jobs/x/cancel", {"POST"}), ("POST", "/v1/queue", {"GET", "HEAD"}),
    ("BREW", "/livez", {"GET", "HEAD"}), ("OPTIONS", "/v1/jobs", {"GET", "HEAD", "POST"}), ("get", "/livez", {"GET", "HEAD"}),
])
def test_method_that_is_wrong(standing, method, target, allowed):
    r = standing.request(method, target)
    assert (r.status, r.code) == (405, "method-not-allowed")
    assert {m.strip() for m in r.headers["Allow"].split(",")} >= allowed


@pytest.mark.parametrize("target, code", [
    ("/v1/jobs?limit=0", "bad-param"), ("/v1/jobs?limit=1001", "bad-param"), ("/v1/jobs?limit=x", "bad-param"),
    ("/v1/jobs?limit=", "bad-param"), ("/v1/jobs?limit=-1", "bad-param"), ("/v1/jobs?limit=+1", "bad-param"),
    ("/v1/jobs?after=", "bad-param"), ("/v1/jobs?after=" + "x" * 100, "bad-param"), ("/v1/jobs?status=done", "bad-param"),
    ("/v1/jobs?no_such=1", "unknown-field"), ("/v1/models?status=queued", "unknown-field"), ("/livez?x", "unknown-field"),
    ("/v1/jobs/{job}?wait=-1", "bad-param"), ("/v1/jobs/{job}?wait=1.5", "bad-param"),
    ("/v1/jobs/{job}/encodings?version=3", "bad-param"), ("/v1/jobs/{job}/encodings?version=", "bad-param"),
    ("/v1/jobs/{job}/events?after=-1", "bad-param"),
])
def test_query_that_is_wrong(standing, target, code):
    r = standing.get(target.format(job=standing.job_id))
    assert (r.status, r.code) == (422, code)
    assert r.pointers and r.pointers[0].startswith("?")


@pytest.mark.parametrize("target", ["/v1/jobs?limit=1&limit=2", "/v1/jobs?%", "/v1/jobs?a=%zz", "/v1/%00", "/v1/jobs?a=%00", "/v1/%ff",
                                    "/v1/%0d%0aX:1", "/v1/models?name=a%0d%0aX:%201", "/" + "/".join("x" * 40), "/?" + "&".join(
                                        f"a{i}" for i in range(40))])
def test_target_that_cannot_be_read(standing, target):
    r = standing.get(target)
    assert (r.status, r.code) == (400, "bad-request")


def test_long_targets(standing):
    r = standing.get("/v1/jobs?after=" + "x" * 8200)
    assert (r.status, r.code) == (414, "uri-too-long")
    # Beyond what fits a connection's memory the library answers by itself.
    c = standing.connection(20)
    with contextlib.suppress(http.client.BadStatusLine, ConnectionError):  # or closes
        c.request("GET", "/" + "x" * 200000)
        assert c.getresponse().status in (400, 414, 431)
    c.close()


def test_many_headers(standing):
    r = standing.request("GET", "/livez", headers={f"X-{i}": "x" for i in range(100)})
    assert (r.status, r.code) == (431, "headers-too-large")
    r = standing.request("GET", "/livez", headers={"X-Long": "x" * 20000})
    assert (r.status, r.code) == (431, "headers-too-large")


@pytest.mark.parametrize("host", ["example.com", "example.com:80", "127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "[::2]",
                                  "", "localhost:x", "127.0.0.1@example.com", "0.0.0.0"])
def test_foreign_host(standing, host):
    with standing.keeps_nothing():
        r = standing.raw(f"POST /v1/models HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx".encode(), "POST")
        assert (r.status, r.code) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:80"])
def test_host_of_the_loopback(standing, host):
    assert standing.raw(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status == 200


@pytest.mark.parametrize("origin", ["https://example.com", "null", "http://localhost.example.com", "file://", "x"])
def test_page_from_elsewhere(standing, origin):
    refused(standing, 403, "forbidden", "PUT", "/v1/models", MODEL.read_bytes(), {"Origin": origin})


@pytest.mark.parametrize("lines", [
    ["Content-Length: 1", "Content-Length: 2"], ["Content-Length: 1", "Content-Length: 1"], ["Content-Length: 1", "Transfer-Encoding: chunked"],
    ["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding: identity"], ["Content-Length: +1"], ["Content-Length: 0x1"],
    ["Content-Length: -1"], ["Content-Length: 99999999999999999999999"], ["Content-Length:"], ["Host: localhost"],
], ids=str)
def test_framing_in_doubt(standing, lines):
    """Some of these the library answers itself, without a problem: what matters is that the request is not carried out."""
    with standing.keeps_nothing(), socket.create_connection(("127.0.0.1", standing.port), timeout=20 * PATIENCE) as s:
        s.sendall(head("PUT", "/v1/models", *lines) + b"1\r\nx\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
        assert answer == b"" or answer.split(b" ")[1] in (b"400", b"413", b"501"), answer
        assert b"application/json" not in answer and b" 404 " not in answer, answer  # what follows is not read as a request


def test_request_without_a_host(standing):
    assert standing.raw(b"GET /livez HTTP/1.1\r\n\r\n", checked=False).status == 400


def test_problem_names_the_request(standing):
    assert standing.get("/v1/nothing", X_Request_Id="my-own.1").json()["request_id"] == "my-own.1"
    strange = standing.get("/v1/nothing", X_Request_Id="a b\"c").json()["request_id"]
    assert len(strange) >= 16 and " " not in strange


# ---- the start ----

@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "example.com:0", "8080", "127.0.0.1", "127.0.0.1:x",
                                    "127.0.0.1:99999", ""])
def test_listens_on_the_loopback_only(tmp_path, listen):
    done = subprocess.run([SEQMSED, "serve", "--listen", listen, "--state-dir", tmp_path / "state"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=20 * PATIENCE, check=False)
    assert done.returncode in (1, 2) and "listening on" not in done.stdout
    assert [x for x in done.stderr.splitlines() if x.startswith("seqmsed: ")], done.stderr


@pytest.mark.parametrize("flags", [["--workers", "0"], ["--workers", "x"], ["--no-such", "1"], ["--workers"], ["--max-model-bytes", "1X"]])
def test_flags_that_are_wrong(tmp_path, flags):
    done = subprocess.run([SEQMSED, "serve", "--state-dir", tmp_path / "state", *flags], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=20 * PATIENCE, check=False)
    assert done.returncode == 2 and done.stderr.startswith("seqmsed: ") and not (tmp_path / "state").exists()


# ---- external data ----

EXTERNAL = (ZOO / "external_data.onnx").read_bytes()
LOCATION = b"external_data.data"


@pytest.mark.parametrize("location", [b"../external.data.d", b"/etc/passwd.data.d", b"a/../../etc/passwd", b"a//external.data.d",
                                      b"./external_data.da", b"a\\..\\external.data", b"a/b/c/d/../e/f/g/h"])
def test_model_whose_files_lie_elsewhere(standing, location):
    assert len(location) == len(LOCATION) and LOCATION in EXTERNAL
    with standing.keeps_nothing():
        r = standing.request("PUT", "/v1/models", EXTERNAL.replace(LOCATION, location))
        assert r.status == 422 and r.code in ("unsupported-graph", "not-an-onnx"), r


@pytest.mark.parametrize("name, status, code", [
    ("../external_data.data", 422, "bad-param"), ("..%2fexternal_data.data", 422, "bad-param"), ("%2e%2e/external_data.data", 422, "bad-param"),
    ("/etc/passwd", 422, "bad-param"), ("%2fetc%2fpasswd", 422, "bad-param"), ("", 422, "bad-param"), (".", 422, "bad-param"),
    ("external_data.data/", 422, "bad-param"), ("a%5c..%5cb", 422, "bad-param"), ("external_data.data%00", 400, "bad-request"),
    ("%00", 400, "bad-request"), ("no_such.data", 422, "bad-param"), ("x" * 1000, 422, "bad-param"),
])
def test_file_with_a_strange_name(standing, name, status, code):
    model = standing.upload("models", EXTERNAL)["id"]
    refused(standing, status, code, "PUT", f"/v1/models/{model}/files/{name}", (ZOO / "external_data.data").read_bytes())
    assert standing.request("DELETE", f"/v1/models/{model}").status == 204


def test_file_for_a_model_that_has_none(standing):
    refused(standing, 422, "bad-param", "PUT", f"/v1/models/{standing.model_id}/files/x", b"x")
