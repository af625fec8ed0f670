"""Uploads in pieces (tus 1.0.0): by an existing client, cut off anywhere, over a restart."""
import base64
import contextlib
import hashlib
import json
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest

from daemon import CALIB, MODEL, PATIENCE, TOP, in_threads, until

sys.path.append(str(TOP / "tests/cli"))
import data_forms  # noqa: E402  pylint: disable=wrong-import-position,wrong-import-order

TOOLS = TOP / "build/deps/api"
VERSION = {"Tus-Resumable": "1.0.0"}
BYTES = "application/offset+octet-stream"


def metadata(**values):
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())


def create(daemon, size, **values):
    r = daemon.request("POST", "/v1/uploads", headers=VERSION | {"Upload-Length": str(size), "Upload-Metadata": metadata(**values)})
    assert r.status == 201, r
    assert r.headers["Tus-Resumable"] == "1.0.0" and r.headers["Upload-Expires"].endswith("GMT")
    return r.headers["Location"]


def patch(daemon, url, offset, body, **headers):
    return daemon.request("PATCH", url, body, VERSION | {"Upload-Offset": str(offset), "Content-Type": BYTES} | headers)


def offset(daemon, url):
    r = daemon.request("HEAD", url, headers=VERSION)
    assert r.status == 200 and r.headers["Cache-Control"] == "no-store", r.status
    return int(r.headers["Upload-Offset"])


def result(daemon, url):
    o = daemon.json(url)
    assert o["offset"] == o["size"] and o["result"], o
    return daemon.json(o["result"])


def test_what_is_spoken(standing):
    r = standing.request("OPTIONS", "/v1/uploads")
    assert (r.status, r.headers["Tus-Version"]) == (204, "1.0.0")
    assert set(r.headers["Tus-Extension"].split(",")) == {"creation", "creation-with-upload", "checksum", "termination", "expiration"}
    assert r.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"


def test_in_pieces(daemon):
    body, url = MODEL.read_bytes(), create(daemon, MODEL.stat().st_size, kind="models", name="in pieces", visibility="private")
    for at in range(0, len(body), 7000):
        assert offset(daemon, url) == at
        r = patch(daemon, url, at, body[at:at + 7000])
        assert (r.status, int(r.headers["Upload-Offset"])) == (204, min(at + 7000, len(body)))
    model = result(daemon, url)
    assert (model["name"], model["visibility"], model["status"]) == ("in pieces", "private", "complete")
    assert daemon.get(f"/v1/models/{model['id']}/content").body == body
    assert [p for p in daemon.files() if p.startswith(("uploads/", "parts/"))] == []
    # Equal files are one object here, too.
    url = create(daemon, len(body), kind="models")
    assert patch(daemon, url, 0, body).headers["Content-Location"] == f"/v1/models/{model['id']}"
    url = create(daemon, CALIB.stat().st_size, kind="calibrations", model=model["id"], filename="calib.npz")
    assert patch(daemon, url, 0, CALIB.read_bytes()).status == 204
    assert result(daemon, url)["name"] == "calib.npz"


@pytest.mark.seconds(180)
def test_cut_off_anywhere_and_resumed(daemon):
    """The connection breaks at random places, now and then the daemon dies: what is there at last is the file."""
    rng, body = random.Random(5), MODEL.read_bytes()
    url, cuts, kills = create(daemon, len(body), kind="models"), 0, 0
    at = reach = 0
    while cuts < 50:
        assert daemon.json("/v1/models")["data"] == []  # not visible before it is whole
        n = rng.randrange(0, max(1, (len(body) - at) // 20) + 1)
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as s:
            s.sendall(f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nContent-Type: {BYTES}\r\nUpload-Offset: {at}\r\n"
                      f"Content-Length: {len(body) - at}\r\n\r\n".encode() + body[at:at + n])
            if rng.random() < 0.3:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        cuts += 1
        if cuts % 10 == 0:
            daemon.kill()
            daemon.start()
            kills += 1
        until(lambda: patch(daemon, url, len(body) + 1, b"").code == "offset-mismatch", "the broken request is over", 5)
        # A broken request may also begin later, when its bytes are found; what was sent is all there can be.
        before, at, reach = at, offset(daemon, url), max(reach, at + n)
        assert before <= at <= reach
    assert at > len(body) // 4, "nothing of what came was kept"

    def the_rest():
        at = offset(daemon, url)
        r = patch(daemon, url, at, body[at:])
        return r.status not in (409, 423)
    until(the_rest, "the last broken request is over", 5)
    assert daemon.get(f"/v1/models/{result(daemon, url)['id']}/content").body == body
    daemon.stop()
    daemon.check_consistent()


@pytest.mark.parametrize("headers, status", [
    ({}, 412), ({"Tus-Resumable": "0.2.0", "Upload-Length": "1"}, 412), (VERSION, 422), (VERSION | {"Upload-Length": "x"}, 422),
    (VERSION | {"Upload-Length": "-1"}, 422), (VERSION | {"Upload-Length": "1"}, 422), (VERSION | {"Upload-Defer-Length": "1"}, 422),
    (VERSION | {"Upload-Length": "1", "Upload-Metadata": "kind bW9kZWxzCg=="}, 422), (VERSION | {"Upload-Length": "1", "Upload-Metadata": "kind ***"}, 422),
    (VERSION | {"Upload-Length": str(1 << 60), "Upload-Metadata": metadata(kind="models")}, 413),
])
def test_wrong_creations(standing, headers, status):
    with standing.keeps_nothing():
        r = standing.request("POST", "/v1/uploads", headers=headers)
        assert r.status == status and r.headers["Tus-Resumable"] == "1.0.0", r


def test_pieces_in_quick_succession(daemon):
    """While others make the daemon start children: what was answered is let go of."""
    body, done = MODEL.read_bytes()[:20000], threading.Event()

    def one(i):
        while i and not done.is_set():
            assert daemon.request("PUT", "/v1/models", b"none").status == 422
        if i == 0:
            try:
                url = create(daemon, len(body) + 1, kind="models")
                for at in range(0, len(body), 100):
                    r = patch(daemon, url, at, body[at:at + 100])
                    assert r.status == 204, r
            finally:
                done.set()
    in_threads(4, one)


@pytest.mark.parametrize("how", ["HEAD", "GET", "the creation again"])
def test_the_last_byte_came_before_a_death(daemon, how):
    """What is whole on the disk and no object yet becomes one for whoever asks: clients that go on find nothing left to send."""
    body = MODEL.read_bytes()
    creation = VERSION | {"Upload-Length": str(len(body)), "Upload-Metadata": metadata(kind="models"), "Idempotency-Key": "k"}
    url = daemon.request("POST", "/v1/uploads", headers=creation).headers["Location"]
    assert patch(daemon, url, 0, body[:-1]).status == 204
    daemon.kill()
    file, = (daemon.state / "uploads").iterdir()
    with open(file, "ab") as f:
        f.write(body[-1:])
    with contextlib.closing(sqlite3.connect(daemon.state / "seqmsed.db")) as d, d:
        d.execute("UPDATE uploads SET offset = size")
    daemon.start()
    if how == "the creation again":
        r = daemon.request("POST", "/v1/uploads", headers=creation)
        assert (r.status, r.headers["Location"]) == (201, url)
    else:
        r = daemon.request(how, url, headers=VERSION)
        assert r.status == 200
    assert int(r.headers["Upload-Offset"]) == len(body)
    assert daemon.get(f"/v1/models/{result(daemon, url)['id']}/content").body == body
    assert list((daemon.state / "uploads").iterdir()) == []


def test_wrong_pieces(daemon):
    url = create(daemon, 100, kind="models")
    assert patch(daemon, url, 5, b"x").code == "offset-mismatch"
    assert patch(daemon, url, 0, b"x", **{"Content-Type": "text/plain"}).status == 415
    assert patch(daemon, url, 0, b"x", **{"Tus-Resumable": "2"}).status == 412
    assert patch(daemon, url, 0, b"x" * 101).status == 413 and offset(daemon, url) == 0
    assert patch(daemon, url + "0", 0, b"x").status == 404
    # One sender at a time.
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as s:
        s.sendall(f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nContent-Type: {BYTES}\r\nUpload-Offset: 0\r\n"
                  f"Content-Length: 100\r\n\r\nx".encode())
        until(lambda: patch(daemon, url, 0, b"y").status == 423, "the other one is refused")
    # What is no model is refused at the end, and gone.
    until(lambda: patch(daemon, url, 1, b"y" * 99).status != 423, "the first one is over")
    assert daemon.get(url).status == 404
    assert [p for p in daemon.files() if p.startswith(("uploads/", "parts/"))] == []


def checksum(body, name="sha1"):
    return {"Upload-Checksum": f"{name} {base64.b64encode(hashlib.new(name, body).digest()).decode()}"}


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_checksums(daemon, name):
    body, url = MODEL.read_bytes(), create(daemon, MODEL.stat().st_size, kind="models")
    assert patch(daemon, url, 0, body[:1000], **checksum(body[:1000], name)).status == 204
    r = patch(daemon, url, 1000, body[1000:3000], **checksum(body[:1000], name))
    assert (r.status, r.code, r.headers["Tus-Resumable"]) == (460, "checksum-mismatch", "1.0.0")
    assert offset(daemon, url) == 1000  # nothing of it stays
    for wrong in ("md5 AAAA", "sha1", "sha1 ", "sha1 AAAA", "sha1 ***", f"{name} {'A' * 300}"):
        r = patch(daemon, url, 1000, body[1000:], **{"Upload-Checksum": wrong})
        assert (r.status, r.code) == (400, "bad-request") and offset(daemon, url) == 1000
    assert patch(daemon, url, 1000, body[1000:], **checksum(body[1000:], name)).status == 204
    assert daemon.get(f"/v1/models/{result(daemon, url)['id']}/content").body == body


def test_a_piece_with_a_checksum_stays_whole_or_not_at_all(daemon):
    body, url = MODEL.read_bytes(), create(daemon, MODEL.stat().st_size, kind="models")
    assert patch(daemon, url, 0, body[:500]).status == 204
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as s:
        s.sendall(f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nContent-Type: {BYTES}\r\nUpload-Offset: 500\r\n"
                  f"Upload-Checksum: {checksum(body[500:])['Upload-Checksum']}\r\nContent-Length: {len(body) - 500}\r\n\r\n".encode() + body[500:4000])
        until(lambda: patch(daemon, url, 0, b"").code == "locked", "the piece is on its way")
    until(lambda: patch(daemon, url, len(body) + 1, b"").code == "offset-mismatch", "the broken request is over", 5)
    assert offset(daemon, url) == 500
    assert patch(daemon, url, 500, body[500:]).status == 204
    assert daemon.get(f"/v1/models/{result(daemon, url)['id']}/content").body == body


def first(daemon, size, body, kind="models", **headers):
    return daemon.request("POST", "/v1/uploads", body, VERSION | {"Upload-Length": str(size), "Upload-Metadata": metadata(kind=kind), "Content-Type": BYTES} | headers)


def test_creation_with_the_first_bytes(daemon):
    body = MODEL.read_bytes()
    r = first(daemon, len(body), body[:3000], **checksum(body[:3000]))
    assert (r.status, r.headers["Upload-Offset"], r.headers["Content-Location"]) == (201, "3000", None)
    url = r.headers["Location"]
    daemon.kill()
    daemon.start()
    assert offset(daemon, url) == 3000
    assert patch(daemon, url, 3000, body[3000:]).status == 204
    assert daemon.get(f"/v1/models/{result(daemon, url)['id']}/content").body == body
    r = first(daemon, len(body), body)
    assert (r.status, r.headers["Upload-Offset"], r.headers["Content-Location"]) == (201, str(len(body)), f"/v1/models/{result(daemon, url)['id']}")
    assert result(daemon, r.headers["Location"]) == result(daemon, url)
    assert [p for p in daemon.files() if p.startswith(("uploads/", "parts/"))] == []


def test_wrong_first_bytes(standing):
    body = MODEL.read_bytes()
    with standing.keeps_nothing():
        assert first(standing, 10, b"x" * 11).code == "too-large"
        assert first(standing, 0, b"x").code == "too-large"
        assert first(standing, len(body), body[:99], **checksum(b"")).code == "checksum-mismatch"
        assert first(standing, len(body), body[:99], **{"Upload-Checksum": "crc32 AAAA"}).status == 400
        assert first(standing, len(body), body[:99], **{"Content-Type": "text/plain"}).status == 415
        assert first(standing, 4, b"none").code == "not-an-onnx"
        with socket.create_connection(("127.0.0.1", standing.port), timeout=20) as s:
            s.sendall(f"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nContent-Type: {BYTES}\r\nUpload-Length: 100\r\n"
                      f"Upload-Metadata: {metadata(kind='models')}\r\nContent-Length: 100\r\n\r\nabc".encode())


def test_termination_and_expiration(start):
    daemon = start("--upload-seconds", "2")
    url = create(daemon, 100, kind="models")
    assert daemon.request("DELETE", url, headers=VERSION).status == 204
    assert daemon.get(url).status == 404 and patch(daemon, url, 0, b"x").status == 404
    url = create(daemon, 100, kind="models")
    assert patch(daemon, url, 0, b"x" * 50).status == 204
    time.sleep(2.5)
    assert (daemon.get(url).code, patch(daemon, url, 50, b"x").code) == ("gone", "gone")
    create(daemon, 100, kind="models")
    assert len([p for p in daemon.files() if p.startswith("uploads/")]) == 1
    assert daemon.get(url).status == 404


def by_tuspy(daemon, file, checked=False, **values):
    """The upload's path."""
    program = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tusclient.client import TusClient
u = TusClient(sys.argv[2]).uploader(sys.argv[3], chunk_size=5000, metadata=json.loads(sys.argv[4]), upload_checksum=sys.argv[5] == "True")
u.upload()
print(u.url)
"""
    done = subprocess.run([sys.executable, "-c", program, TOOLS, f"{daemon.url}/v1/uploads", file, json.dumps(values), str(checked)],
                          capture_output=True, text=True, timeout=50 * PATIENCE, check=False, env={"no_proxy": "*"})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().removeprefix(daemon.url)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("kind, file", [("models", MODEL), ("calibrations", CALIB)])
def test_an_existing_client(standing, kind, file, checked):
    """tuspy, unchanged."""
    if not TOOLS.is_dir():
        pytest.skip("no tuspy (make deps-dev)")
    o = result(standing, by_tuspy(standing, file, checked, kind=kind, name="by tuspy"))
    assert standing.get(o["urls"]["content"]).body == file.read_bytes()


def test_images_in_pieces(daemon, tmp_path):
    """The line that says how images become numbers comes in the metadata: the fit is checked with it, and the set is that of a plain upload."""
    file, line = tmp_path / "i.zip", data_forms.LINE
    file.write_bytes(data_forms.zipped(data_forms.image_files(data_forms.images()[:20])))
    model, body = daemon.model(), file.read_bytes()

    def plain(o):
        return {k: v for k, v in o.items() if k not in ("id", "created_at", "urls", "deduplicated")}
    if TOOLS.is_dir():
        url = by_tuspy(daemon, file, kind="calibrations", name="photos", model=model, preprocess=line)
    else:
        url = create(daemon, len(body), kind="calibrations", name="photos", model=model, preprocess=line)
        assert patch(daemon, url, 0, body[:100]).status == 204
        assert daemon.stop()[0] == 0
        daemon.start()
        assert patch(daemon, url, 100, body[100:]).status == 204
    tus = result(daemon, url)
    assert daemon.request("DELETE", f"/v1/calibrations/{tus['id']}").status == 204
    other = daemon.upload("calibrations", body, f"?name=photos&model={model}&preprocess={urllib.parse.quote(line)}", (201,))
    assert plain(tus) == plain(other) and tus["samples"] == 20
    # Without the line they do not fit; and a line that is none is refused before anything is sent.
    assert daemon.request("DELETE", f"/v1/calibrations/{other['id']}").status == 204
    r = patch(daemon, create(daemon, len(body), kind="calibrations", model=model), 0, body)
    assert (r.status, r.code) == (422, "calibration-mismatch") and "preprocess" in r.json()["detail"]
    wrong = metadata(kind="calibrations", preprocess="colour=gray")
    r = daemon.request("POST", "/v1/uploads", headers=VERSION | {"Upload-Length": "9", "Upload-Metadata": wrong})
    assert (r.status, r.code) == (422, "bad-param") and "colour" in r.json()["detail"]


def test_metadata_that_cannot_be_taken(daemon):
    for said, values in ((("visibility", "team or private"), {"visibility": "secret"}), (("name", "200 characters"), {"name": "n" * 201})):
        headers = VERSION | {"Upload-Length": "9", "Upload-Metadata": metadata(kind="models", **values)}
        r = daemon.request("POST", "/v1/uploads", headers=headers)
        assert (r.status, r.code) == (422, "bad-param") and all(word in r.json()["detail"] for word in said), r
    daemon.request("DELETE", create(daemon, 9, kind="models", name="\u00e4" * 200, visibility="team"), headers=VERSION)
