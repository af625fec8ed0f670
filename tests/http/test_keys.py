"""Who may do what: every route with every kind of key, owners, quotas, names, and secrets that stay secret."""
import contextlib
import json
import os
import pathlib
import re
import subprocess
import time

import pytest

from daemon import CALIB, MODEL, PATIENCE, SANITIZER, SEQMSED, TOP, ZOO, Daemon, descriptors, until

JSON = {"Content-Type": "application/json"}
SCOPES = {"SCOPE_READ": "read", "SCOPE_SUBMIT": "submit", "SCOPE_ADMIN": "admin", "SCOPE_PUBLIC": None}
ENCODINGS = b'{"version": "1.0.0", "param_encodings": [], "activation_encodings": []}'
NONE = "00000000000070008000000000000000"
TUS = {"Tus_Resumable": "1.0.0"}


def key(daemon, *words, check=True):
    done = subprocess.run([SEQMSED, "key", *words, "--state-dir", daemon.state], capture_output=True, text=True, timeout=20 * PATIENCE, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip() if check else done


class As:
    """A daemon, asked with a key."""

    def __init__(self, daemon, text):
        self.daemon, self.headers = daemon, {"Authorization": f"Bearer {text}"}

    def __call__(self, method, target, body=None, **headers):
        headers = self.headers | {k.replace("_", "-"): v for k, v in headers.items()}
        if isinstance(body, dict):
            body, headers = json.dumps(body), headers | JSON
        return self.daemon.request(method, target, body, headers)

    def made(self, method, target, body):
        r = self(method, target, body)
        assert r.status in (201, 202), r
        return r.json()["id"]


@pytest.fixture(name="keyed", scope="module")
def fixture_keyed(tmp_path_factory):
    """A daemon with keys for ann and bob, and a job of ann's that is done, private like its model and calibration."""
    d = Daemon(tmp_path_factory.mktemp("keyed"))
    d.start()
    try:
        d.keys = {name: key(d, "add", owner, "--scope", scope) for name, owner, scope in (
            ("ann", "ann", "read,submit"), ("bob", "bob", "read,submit"), ("read", "ann", "read"), ("submit", "ann", "submit"),
            ("admin", "root", "admin"), ("revoked", "ann", "read,submit,admin"), ("bad", "ann", "read,submit,admin"))}
        key(d, "revoke", d.keys["revoked"].split("_")[1])
        d.keys["bad"] = d.keys["bad"][:20] + ("A" if d.keys["bad"][20] != "A" else "B") + d.keys["bad"][21:]
        d.keys["expired"] = key(d, "add", "ann", "--expires", "1m")
        ann = As(d, d.keys["ann"])
        d.model_id = ann.made("PUT", "/v1/models?visibility=private", MODEL)
        d.calibration_id = ann.made("PUT", "/v1/calibrations?visibility=private", CALIB)
        d.job_id = ann.made("POST", "/v1/jobs", {"model": d.model_id, "calibration": d.calibration_id, "visibility": "private"})
        d.encodings_id = ann.made("PUT", "/v1/encodings?visibility=private", ENCODINGS)
        r = ann("POST", "/v1/uploads", **TUS, Upload_Length="9", Upload_Metadata="kind bW9kZWxz")
        d.upload_id = r.headers["Location"].split("/")[-1]
        assert ann("GET", f"/v1/jobs/{d.job_id}?wait=30").json()["status"] == "succeeded"
        path = d.state / "keys" / d.keys["expired"].split("_")[1]  # as if the minute had passed
        entry = json.loads(path.read_text())
        path.with_suffix(".new").write_text(json.dumps(entry | {"expires_at": 1}))
        path.with_suffix(".new").chmod(0o600)
        path.with_suffix(".new").rename(path)
        yield d
    finally:
        d.close()


def routes():
    """The route table: (method, pattern, scope)."""
    text = (TOP / "api/routes.c").read_text()
    rows = re.findall(r'\{([A-Z |]+), "(/[^"]*)", "[^"]*",\s*BODY_\w+,\s*[A-Z0-9 |]+,\s*(SCOPE_\w+),', text)
    assert len(rows) == len(re.findall(r"^\t\{[A-Z]+( \| [A-Z]+)*, \"", text, re.M)) > 25
    return [(method, pattern, SCOPES[scope]) for methods, pattern, scope in rows for method in methods.split(" | ")]


def targets(pattern, daemon):
    """The pattern with ids that are ann's."""
    of = {"models": daemon.model_id, "calibrations": daemon.calibration_id, "encodings": daemon.encodings_id, "jobs": daemon.job_id, "uploads": daemon.upload_id}
    kind = pattern.split("/")[2] if pattern.count("/") > 1 else ""
    second = "0" if "/layers/" in pattern else "report.json"
    return pattern.replace("{}", of.get(kind, "app.js"), 1).replace("{}", second).replace("{*}", "w.data")


@pytest.mark.parametrize("method, pattern, scope", routes(), ids=lambda x: str(x))
def test_every_route_wants_its_scope(keyed, method, pattern, scope):
    target = targets(pattern, keyed)
    uploads = pattern.startswith("/v1/uploads")
    headers = TUS | {"Upload_Offset": "0", "Content_Type": "application/offset+octet-stream"} if uploads else JSON if method in ("POST", "PATCH") else {}
    if scope is None:
        assert keyed.request(method, target).status in (200, 204)
        return
    r = keyed.request(method, target, headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert (r.status, r.code, r.headers["WWW-Authenticate"]) == (401, "unauthorized", 'Bearer realm="seqmsed"')
    for name in ("bad", "revoked", "expired"):
        r = As(keyed, keyed.keys[name])(method, target, **headers)
        assert (r.status, r.code) == (401, "unauthorized") and "invalid_token" in r.headers["WWW-Authenticate"], name
    for name in ("read", "submit"):
        if name != scope:
            r = As(keyed, keyed.keys[name])(method, target, **headers)
            assert (r.status, r.code) == (403, "forbidden") and "insufficient_scope" in r.headers["WWW-Authenticate"]
    for text in ("", "x", "sqm_", "sqm_" + "a" * 59, keyed.keys["ann"] + "a", keyed.keys["ann"][:-1]):
        assert As(keyed, text)(method, target, **headers).status == 401
    if "{" in pattern and "web" not in pattern:  # another owner's private object is not there
        r = As(keyed, keyed.keys["bob"])(method, target, **headers, body={} if method == "PATCH" and not uploads else None)
        assert (r.status, r.code) == (404, "not-found"), r
        if method == "GET":
            for name in ("ann", scope, "admin"):
                r = As(keyed, keyed.keys[name])(method, target)
                assert r.status == 200, r


def test_lists_show_what_is_ones_own_or_the_teams(keyed):
    ann, bob, admin = (As(keyed, keyed.keys[n]) for n in ("ann", "bob", "admin"))
    for kind, own in (("models", keyed.model_id), ("calibrations", keyed.calibration_id), ("encodings", keyed.encodings_id), ("jobs", keyed.job_id)):
        def listed(who, kind=kind):
            return {x["id"] for x in who("GET", f"/v1/{kind}").json()["data"]}
        assert own in listed(ann) & listed(admin) and own not in listed(bob)
        assert ann("PATCH", f"/v1/{kind}/{own}", {"visibility": "team"}).status == 200
        assert own in listed(bob) and bob("GET", f"/v1/{kind}/{own}").json()["owner"] == "ann"
        for r in (bob("PATCH", f"/v1/{kind}/{own}", {"name": "x"}), bob("DELETE", f"/v1/{kind}/{own}")):
            assert (r.status, r.code) == (404, "not-found")
        assert ann("PATCH", f"/v1/{kind}/{own}", {"visibility": "private"}).status == 200
    assert admin("PATCH", f"/v1/jobs/{keyed.job_id}", {"name": "seen"}).json()["name"] == "seen"


def test_equal_files_of_two_owners_are_two(keyed):
    bob = As(keyed, keyed.keys["bob"])
    first = bob("PUT", "/v1/models?visibility=private", MODEL)
    assert (first.status, first.json()["deduplicated"]) == (201, False)
    assert bob("PUT", "/v1/models", MODEL).status == 200
    calibration = bob.made("PUT", f"/v1/calibrations?model={first.json()['id']}", CALIB)
    job = bob("POST", "/v1/jobs?dry_run=true", {"model": first.json()["id"], "calibration": calibration}).json()
    assert job["reuse"] is None  # ann has the result; that is nothing of bob's
    r = bob("POST", "/v1/jobs", {"model": keyed.model_id, "calibration": calibration})
    assert (r.status, r.code, r.pointers) == (404, "not-found", ["/model"])


def test_what_the_team_sees_can_be_used(keyed):
    ann, bob = As(keyed, keyed.keys["ann"]), As(keyed, keyed.keys["bob"])
    body = {"model": keyed.model_id, "calibration": keyed.calibration_id}
    for kind, own in (("models", keyed.model_id), ("calibrations", keyed.calibration_id)):
        assert bob("POST", "/v1/jobs", body).status == 404
        ann("PATCH", f"/v1/{kind}/{own}", {"visibility": "team"})
    r = bob("POST", "/v1/jobs", body, Prefer="wait=30")
    assert (r.status, r.json()["owner"], r.json()["status"], r.json()["reused_from"]) == (202, "bob", "succeeded", None)
    assert bob("GET", f"/v1/jobs/{r.json()['id']}/encodings").body == ann("GET", f"/v1/jobs/{keyed.job_id}/encodings").body
    for kind, own in (("models", keyed.model_id), ("calibrations", keyed.calibration_id)):
        ann("PATCH", f"/v1/{kind}/{own}", {"visibility": "private"})


def test_a_model_gets_its_files_from_its_owner(keyed):
    ann, bob = As(keyed, keyed.keys["ann"]), As(keyed, keyed.keys["bob"])
    model = ann.made("PUT", "/v1/models?visibility=team", ZOO / "external_data.onnx")
    target = f"/v1/models/{model}/files/external_data.data"
    r = bob("PUT", target, ZOO / "external_data.data")
    assert (r.status, r.code) == (404, "not-found")
    assert bob("GET", f"/v1/models/{model}").json()["status"] == "incomplete"
    assert ann("PUT", target, ZOO / "external_data.data").json()["status"] == "complete"
    assert ann("DELETE", f"/v1/models/{model}").status == 204


def test_key_list_revoke_rotate(daemon):
    first = key(daemon, "add", "ann", "--scope", "read")
    assert daemon.request("GET", "/v1/jobs").status == 401
    assert As(daemon, first)("GET", "/v1/jobs").status == 200
    name = first.split("_")[1]
    second = key(daemon, "rotate", name)
    assert second != first and second.split("_")[1] == name
    assert As(daemon, first)("GET", "/v1/jobs").status == 401 and As(daemon, second)("GET", "/v1/jobs").status == 200
    listed = key(daemon, "list")
    assert name in listed and "ann" in listed and "read" in listed and first not in listed and second not in listed
    assert "used 20" in listed and "expires never" in listed
    key(daemon, "revoke", name)
    assert As(daemon, second)("GET", "/v1/jobs").status == 401
    assert "revoked 20" in key(daemon, "list")
    assert daemon.request("GET", "/v1/jobs").status == 401  # where there ever were keys, nobody comes in without
    for words in (["revoke", "AAAAAAAA"], ["rotate", name], ["revoke", "../../x"]):
        assert key(daemon, *words, check=False).returncode == 1, words
    for words in ([], ["add"], ["add", "x", "--scope", "write"], ["add", "x", "--expires", "soon"], ["list", "x"], ["add", "x" * 64], ["hug", "x"]):
        assert key(daemon, *words, check=False).returncode == 2, words
    daemon.kill()
    daemon.start()
    assert As(daemon, second)("GET", "/v1/jobs").status == 401


def test_secrets_are_nowhere(keyed):
    """Not in the database, its log, the files of keys, what the daemon logs, nor in an engine's memory map of arguments."""
    ann = As(keyed, keyed.keys["ann"])
    job = ann.made("POST", "/v1/jobs", {"model": keyed.model_id, "calibration": keyed.calibration_id,
                                        "params": {"num_candidates": 100000, "reuse": False}})
    engine = until(keyed.children, "an engine runs")[0]
    for what in ("environ", "cmdline"):
        with open(f"/proc/{engine}/{what}", "rb") as f:
            assert b"sqm_" not in f.read()
    ann("POST", f"/v1/jobs/{job}/cancel")
    until(lambda: ann("GET", f"/v1/jobs/{job}").json()["status"] == "canceled", "canceled")
    secrets = [k.split("_")[2].encode() for k in keyed.keys.values()]
    seen = 0
    for path in [*keyed.state.rglob("*"), keyed.log]:
        if path.is_file():
            seen += 1
            data = path.read_bytes()
            assert not any(s in data for s in secrets), path
    assert seen > 8
    assert all(p.stat().st_mode & 0o077 == 0 for p in (keyed.state / "keys").iterdir())
    with open(f"/proc/{keyed.pid}/limits", encoding="ascii") as f:
        assert re.search(r"Max core file size +0 ", f.read())


def memory(pid):
    """Everything in a process's memory that did not come out of a file as it is."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            begin, end = (int(x, 16) for x in line.split()[0].split("-"))
            if line.split()[1].startswith("rw"):
                with contextlib.suppress(OSError, OverflowError, ValueError):  # [vvar] and its like
                    mem.seek(begin)
                    while begin < end and (data := mem.read(min(end - begin, 1 << 26))):
                        begin += len(data)
                        yield data


@pytest.mark.skipif(SANITIZER is not None, reason="with a sanitizer most of an address space is readable")
def test_an_engine_knows_no_secret(tmp_path, long_calib):
    """Neither keys nor what else the daemon got as it was started are in the memory, the environment or the descriptors of its children."""
    d = Daemon(tmp_path)
    planted = "planted-" + os.urandom(16).hex()
    d.env = {"SOME_TOKEN": planted}
    d.start("--workers", "1")
    try:
        texts = [key(d, "add", owner, "--scope", "read,submit,admin") for owner in ("ann", "bob")]
        ann, bob = (As(d, text) for text in texts)
        secrets = [planted.encode()] + [text.split("_")[2].encode() for text in texts]
        model, calibration = ann.made("PUT", "/v1/models?name=known-to-the-daemon", MODEL), ann.made("PUT", "/v1/calibrations", long_calib)
        job = ann.made("POST", "/v1/jobs", {"model": model, "calibration": calibration, "params": {"num_candidates": 100000}})
        assert bob("GET", "/v1/jobs").status == 200
        until(lambda: ann("GET", f"/v1/jobs/{job}").json()["progress"]["phase"] == "search", "an engine searches")
        pid, = d.children()
        sizes = 0
        for data in memory(pid):
            sizes += len(data)
            assert not any(s in data for s in secrets)
        print(f"{sizes >> 20} MiB of an engine's memory looked through")
        assert any(planted.encode() in x for x in memory(d.pid))  # where it is, it would be found
        assert not any(s in pathlib.Path(f"/proc/{pid}/environ").read_bytes() for s in secrets)
        held = descriptors(pid)
        assert held and not [x for x in held if x.startswith("socket:") or "/keys" in x or "seqmsed.db" in x], held
    finally:
        assert d.stop()[0] == 0
    d.check_stderr()


def test_the_audit_knows_and_is_only_added_to(keyed):
    ann = As(keyed, keyed.keys["ann"])
    ann("PATCH", f"/v1/jobs/{keyed.job_id}", {"name": "audited"}, X_Request_Id="audit-1")
    ann("DELETE", f"/v1/jobs/job_{NONE}", X_Request_Id="audit-2")
    with keyed.database() as d:
        rows = d.execute("SELECT owner, key_id, address, method, path, status FROM audit WHERE request_id LIKE 'audit-%' ORDER BY seq").fetchall()
        name = keyed.keys["ann"].split("_")[1]
        assert rows == [("ann", name, "127.0.0.1", "PATCH", f"/v1/jobs/{keyed.job_id}", 200), ("ann", name, "127.0.0.1", "DELETE", f"/v1/jobs/job_{NONE}", 404)]
        triggers = {t for (t,) in d.execute("SELECT tbl_name FROM sqlite_schema WHERE type = 'trigger'")}
        assert "audit" in triggers


# ---- quotas ----

def test_requests_are_counted(start):
    daemon = start("--requests-per-minute", "30")
    ann, bob = As(daemon, key(daemon, "add", "ann")), As(daemon, key(daemon, "add", "bob"))
    replies = [ann("GET", "/v1/jobs") for _ in range(40)]
    assert {r.status for r in replies[:30]} == {200} and replies[-1].status == 429
    assert replies[0].headers["RateLimit-Policy"] == '"requests";q=30;w=60' and replies[0].headers["RateLimit"].startswith('"requests";r=29;')
    assert replies[-1].code == "rate-limited" and 1 <= int(replies[-1].headers["Retry-After"]) <= 2
    assert bob("GET", "/v1/jobs").status == 200 and daemon.get("/livez").status == 200
    time.sleep(int(replies[-1].headers["Retry-After"]) + 0.1)
    assert ann("GET", "/v1/jobs").status == 200


def test_space_is_shared_out(start):
    size = MODEL.stat().st_size
    daemon = start("--max-bytes-per-owner", str(size + 1000))
    ann, bob = As(daemon, key(daemon, "add", "ann")), As(daemon, key(daemon, "add", "bob"))
    model = ann.made("PUT", "/v1/models", MODEL)
    r = ann("PUT", "/v1/calibrations", CALIB)
    assert (r.status, r.code) == (507, "disk-full") and "1000 are left" in r.json()["detail"]
    r = ann("POST", "/v1/uploads", **TUS, Upload_Length="1001", Upload_Metadata="kind bW9kZWxz")
    assert (r.status, r.code) == (507, "disk-full") and "1000 bytes are left" in r.json()["detail"]
    assert bob("PUT", "/v1/calibrations", CALIB).status in (201, 507)
    assert ann("DELETE", f"/v1/models/{model}").status == 204
    assert ann("PUT", "/v1/calibrations", CALIB).status == (201 if CALIB.stat().st_size <= size + 1000 else 507)


def test_waiting_jobs_are_counted_per_owner(start, long_calib):
    daemon = start("--workers", "1", "--max-queued-jobs-per-owner", "2")
    ann, bob = As(daemon, key(daemon, "add", "ann")), As(daemon, key(daemon, "add", "bob"))
    model, slow = ann.made("PUT", "/v1/models", MODEL), ann.made("PUT", "/v1/calibrations", long_calib)
    body = {"model": model, "calibration": slow, "params": {"num_candidates": 100000}}
    first = ann.made("POST", "/v1/jobs", body)
    until(daemon.children, "the first one runs")
    waiting = [ann.made("POST", "/v1/jobs", body) for _ in range(2)]
    assert ann("POST", "/v1/jobs", body).code == "queue-full"
    other = bob.made("POST", "/v1/jobs", body)
    assert [bob("GET", f"/v1/jobs/{j}").json()["queue_position"] for j in (other, *waiting)] == [1, 2, 3]  # owners in turn
    for who, job in ((ann, first), (ann, waiting[0]), (ann, waiting[1]), (bob, other)):
        assert who("POST", f"/v1/jobs/{job}/cancel").status == 202


# ---- names and addresses ----

def test_names_of_hosts(start):
    daemon = start("--allowed-hosts", "quant.example.org, other.example")
    for host, status in (("quant.example.org", 200), ("QUANT.example.org:8080", 200), ("other.example", 200), ("example.org", 403),
                         ("xquant.example.org", 403), ("localhost", 200)):
        assert daemon.get("/livez", Host=host).status == status, host
        assert daemon.get("/livez", Origin=f"https://{host}").status == status, host


def test_beyond_the_loopback_only_with_keys_and_a_flag(tmp_path):
    def run(*flags):
        return subprocess.run([SEQMSED, "serve", "--listen", "0.0.0.0:0", "--state-dir", tmp_path / "state", *flags], capture_output=True,
                              text=True, timeout=20 * PATIENCE, check=False)
    assert run().returncode == run("--allow-plain-http", "1").returncode == 2
    subprocess.run([SEQMSED, "key", "add", "ann", "--state-dir", tmp_path / "state"], check=True, capture_output=True)
    assert run().returncode == 2
    with subprocess.Popen([SEQMSED, "serve", "--listen", "0.0.0.0:0", "--state-dir", tmp_path / "state", "--allow-plain-http", "1", "--log-level", "error"],
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith("listening on http://0.0.0.0:")
        finally:
            process.terminate()
            assert process.wait(20 * PATIENCE) == 0
