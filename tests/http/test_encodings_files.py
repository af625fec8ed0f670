"""Uploaded encodings files: what is taken, that jobs start from them as the command line does, and that they stay while somebody needs them."""
import contextlib
import json
import sqlite3
import subprocess

import pytest

from daemon import CALIB, DIGITS, MODEL, PATIENCE, SEQMSED, quantize, until

JSON = {"Content-Type": "application/json"}


def post(daemon, target, **body):
    return daemon.request("POST", target, json.dumps(body), JSON)


@pytest.fixture(name="large", scope="module")
def fixture_large(tmp_path_factory):
    """A file of several megabytes: the sample's weights at 3 bits, and forty thousand activations that are not the model's."""
    folder = tmp_path_factory.mktemp("large")
    x = json.loads(quantize(folder, MODEL, CALIB, param_bw=3))
    some = x["activation_encodings"][0]
    x["activation_encodings"] += [dict(some, name=f"of_another_model_{i}") for i in range(40000)]
    path = folder / "large.encodings"
    path.write_text(json.dumps(x))
    assert path.stat().st_size > 5 << 20
    return path


@pytest.mark.seconds(180)
@pytest.mark.parametrize("how", ["start", "freeze"])
def test_a_job_starts_from_an_uploaded_file(daemon, large, tmp_path, how):
    model, calibration = daemon.model(), daemon.calibration()
    loaded = daemon.upload("encodings", large, "?name=three%20bits")
    assert (loaded["name"], loaded["size"], loaded["deduplicated"]) == ("three bits", large.stat().st_size, False)
    assert loaded["activations"] > 40000 and loaded["parameters"] > 0
    wanted = quantize(tmp_path / "cli", MODEL, CALIB, load_encodings=large, load_as=how)
    job = daemon.job(model, calibration, load_encodings=loaded["id"], load_as=how)
    assert daemon.succeed(job)["params"]["load_encodings"] == loaded["id"]  # not the file: lists stay short
    assert daemon.encodings(job) == wanted
    dry = post(daemon, "/v1/jobs?dry_run=true", model=model, calibration=calibration, params={"load_encodings": loaded["id"]})
    assert dry.status == 200 and dry.json()["estimate"], dry
    # And again, over a restart, out of a retry.
    assert daemon.stop()[0] == 0
    daemon.start()
    again = post(daemon, f"/v1/jobs/{job}/retry").json()["id"]
    daemon.succeed(again)
    assert daemon.encodings(again) == wanted
    assert daemon.stop()[0] == 0
    daemon.check_consistent()


def test_submit_uploads_the_file(daemon, large, tmp_path):
    subprocess.run([SEQMSED, "submit", MODEL, CALIB, "--load-encodings", large, "-o", tmp_path / "out", "--server", daemon.url],
                   stdin=subprocess.DEVNULL, check=True, capture_output=True, timeout=60 * PATIENCE)
    assert (tmp_path / "out/model.encodings").read_bytes() == quantize(tmp_path / "cli", MODEL, CALIB, load_encodings=large)
    assert len(daemon.json("/v1/encodings")["data"]) == 1


@pytest.mark.parametrize("version", ["0.6.1", "1.0.0", "2.0.0"])
def test_what_became_of_it(daemon, tmp_path, version):
    content = quantize(tmp_path, MODEL, CALIB, version)
    first = daemon.upload("encodings", content, "?visibility=team", (201,))
    target = f"/v1/encodings/{first['id']}"
    assert first["urls"] == {"self": target, "content": f"{target}/content"}
    again = daemon.upload("encodings", content, "?name=other", (200,))
    assert again == first | {"deduplicated": True}
    got = daemon.json(target)
    assert got == {k: v for k, v in first.items() if k != "deduplicated"}
    assert daemon.json("/v1/encodings")["data"] == [got]
    r = daemon.get(f"{target}/content")
    assert (r.status, r.body) == (200, content) and "model.encodings" in r.headers["Content-Disposition"]
    assert daemon.get(target, If_None_Match=daemon.get(target).headers["ETag"]).status == 304
    r = daemon.request("PATCH", target, '{"name": "mine", "labels": {"a": "b"}}', JSON | {"If-Match": daemon.get(target).headers["ETag"]})
    assert (r.status, r.json()["name"], r.json()["labels"]) == (200, "mine", {"a": "b"})
    assert daemon.request("PATCH", target, '{"name": "x"}', JSON | {"If-Match": '"no"'}).code == "precondition-failed"
    assert daemon.request("DELETE", target).status == 204
    for method in ("GET", "DELETE"):
        assert daemon.request(method, target).code == "not-found"
    until(lambda: content not in [p.read_bytes() for p in (daemon.state / "blobs").rglob("*") if p.is_file()], "the file is gone")


def test_an_idempotency_key(daemon, tmp_path):
    content, key = quantize(tmp_path, MODEL, CALIB), {"Idempotency-Key": "k"}
    first, again = (daemon.request("POST", "/v1/encodings", content, key) for _ in range(2))
    assert (first.status, again.status, again.headers["Idempotency-Replayed"]) == (201, 201, "true") and first.body == again.body
    assert daemon.request("POST", "/v1/encodings", content + b"\n", key).code == "idempotency-reuse"
    assert daemon.request("DELETE", f"/v1/encodings/{first.json()['id']}").status == 204
    assert daemon.request("POST", "/v1/encodings", content, key).code == "gone"


def test_what_is_refused(start):
    daemon = start("--max-encodings-bytes", "1000")
    with daemon.keeps_nothing():
        for body in (b"", b"{}", b"[]", b"\xff", (DIGITS / "model.onnx").read_bytes()[:900], b'{"version": "7"}', b'{"version": "1.0.0"}'):
            r = daemon.request("PUT", "/v1/encodings", body)
            assert (r.status, r.code) == (422, "bad-param"), (body, r)
        assert daemon.request("PUT", "/v1/encodings", bytes(1001)).code == "too-large"
        assert daemon.request("PUT", "/v1/encodings?visibility=no", b"{}").pointers == ["?visibility"]
    model, calibration = daemon.model(), daemon.calibration()
    for wrong in ("enc_1", "enc_" + "0" * 32, calibration, "model.encodings"):
        r = post(daemon, "/v1/jobs", model=model, calibration=calibration, params={"load_encodings": wrong})
        assert (r.status, r.code, r.pointers) == (422, "bad-param", ["/params/load_encodings"])


def test_it_stays_while_a_job_needs_it(start, long_calib, tmp_path):
    daemon = start("--workers", "1")
    loaded = daemon.upload("encodings", quantize(tmp_path, MODEL, CALIB))["id"]
    job = daemon.job(daemon.model(), daemon.calibration(long_calib), load_encodings=loaded, num_candidates=100000)
    r = daemon.request("DELETE", f"/v1/encodings/{loaded}")
    assert (r.status, r.code) == (409, "in-use")
    assert daemon.request("POST", f"/v1/jobs/{job}/cancel").status == 202
    until(lambda: daemon.json(f"/v1/jobs/{job}")["status"] == "canceled", "it is canceled")
    assert daemon.request("DELETE", f"/v1/encodings/{loaded}").status == 204
    assert post(daemon, f"/v1/jobs/{job}/retry").pointers == ["/params/load_encodings"]


def test_an_old_one_is_forgotten(daemon, tmp_path):
    loaded = daemon.upload("encodings", quantize(tmp_path, MODEL, CALIB))["id"]
    assert daemon.stop()[0] == 0
    with contextlib.closing(sqlite3.connect(daemon.state / "seqmsed.db")) as d, d:
        d.execute("UPDATE encodings SET created_at = 1")
    done = subprocess.run([SEQMSED, "gc", "--state-dir", daemon.state, "--keep-upload-days", "30"], capture_output=True, text=True, check=True)
    assert done.stdout == "0 jobs, 0 models, 0 calibrations, 1 encodings, 0 files removed\n"
    daemon.start()
    assert daemon.get(f"/v1/encodings/{loaded}").status == 404
    assert daemon.stop()[0] == 0
    daemon.check_consistent()
