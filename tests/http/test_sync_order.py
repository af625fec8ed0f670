"""What is acknowledged was put on the disk before, in an order that a power loss at any moment cannot undo: a file's bytes, its name, the row that
names it, and then the answer. strace writes down what the daemon does during a session; the test reads it.

A power loss itself cannot be tried here; that order is what is left of one.
"""
import collections
import hashlib
import json
import re

import pytest

from daemon import CALIB, MODEL, SANITIZER, ZOO, Daemon, can_trace
from test_sandbox import end_traced
from test_tus import VERSION, create, patch

EXTERNAL = ZOO / "external_data.onnx", ZOO / "external_data.data"
WATCHED = "openat,write,pwrite64,writev,sendmsg,sendto,fsync,fdatasync,renameat,linkat,mkdirat,ftruncate"
WRITES, SYNCS, SENDS = ("write", "pwrite64", "writev", "ftruncate"), ("fsync", "fdatasync"), ("sendmsg", "sendto", "writev")

pytestmark = pytest.mark.skipif(SANITIZER is not None or not can_trace(), reason="needs strace, and a program that is quick under it")

Call = collections.namedtuple("Call", "begin end name text path")  # begin, end: line numbers; path: that of its first descriptor


class Trace:
    """What strace saw, in order. A call of one thread may begin in one line and end in another."""

    def __init__(self, path):
        self.calls, open_calls = [], {}
        for n, line in enumerate(path.read_text(errors="replace").splitlines()):
            pid, rest = line.split(None, 1)
            if m := re.match(r"(\w+)\(", rest):
                if rest.endswith("<unfinished ...>"):
                    open_calls[pid] = n, m[1], rest
                else:
                    self.add(n, n, m[1], rest)
            elif re.match(r"<\.\.\. \w+ resumed>", rest) and pid in open_calls:
                begin, name, first = open_calls.pop(pid)
                self.add(begin, n, name, first + rest)

    def add(self, begin, end, name, text):
        if " = -1 " not in text[-60:]:
            path = re.match(r"\w+\(\w+<([^>]*)>", text)
            self.calls.append(Call(begin, end, name, text, path[1] if path else ""))

    def all(self, names, path=None, text="", after=-1, before=1 << 60):
        return [c for c in self.calls if c.name in names and (path is None or c.path == str(path)) and text in c.text and c.begin > after and c.end < before]

    def first(self, *args, **kwargs):
        found = self.all(*args, **kwargs)
        assert found, ("never", args, kwargs)
        return found[0]


def source(call):
    """What a file was called before it was renamed or linked."""
    m = re.match(r'\w+\(\w+<([^>]*)>, "([^"]*)"', call.text)
    return f"{m[1]}/{m[2]}"


class Audit:
    def __init__(self, trace, state):
        self.trace, self.state, self.wal = trace, state, state / "seqmsed.db-wal"

    def committed(self, text, after=-1):
        """The call that put the first row with that text on the disk."""
        row = self.trace.first(WRITES, self.wal, text, after)
        return row, self.trace.first(SYNCS, self.wal, after=row.end)

    def answered(self, text, after=-1):
        return self.trace.first(SENDS, text=text, after=after)

    def name(self, call, folder, before):
        """What gave a file a name in the folder is followed by a sync of it."""
        assert self.trace.all(SYNCS, folder, after=call.end, before=before), (call, folder)

    def blob(self, sha, before):
        """Bytes, name, row, in that order; the first such file of that content."""
        blobs = self.state / "blobs"
        named = self.trace.first(("renameat", "linkat"), text=f'"{sha}"')
        file = source(named)
        for linked in self.trace.all(("linkat",), text=f'"{file.rsplit("/", 1)[1]}"', before=named.begin):
            file = source(linked)  # an upload in pieces
        written = self.trace.all(WRITES, file, before=named.begin)
        assert written and self.trace.all(SYNCS, file, after=written[-1].end, before=named.begin), file
        self.name(named, blobs / sha[:2], before)
        for made in self.trace.all(("mkdirat",), blobs, f'"{sha[:2]}"', before=named.begin):
            self.name(made, blobs, before)
        return named

    def acknowledged(self, one, sha=None):
        """201 or 202 with that id."""
        row, committed = self.committed(one)
        assert committed.end < self.answered(f'\\"id\\": \\"{one}\\"').begin, one
        if sha:
            self.blob(sha, row.begin)


@pytest.fixture(name="traced")
def fixture_traced(tmp_path):
    """traced(session): runs session(daemon) and gives the audit of what the daemon did."""
    def traced(session):
        daemon, path = Daemon(tmp_path), tmp_path / "trace"
        daemon.prefix = ["strace", "-f", "-y", "-qq", "-s", "20000", "-o", str(path), "-e", f"trace={WATCHED}", "-e", "signal=none"]
        daemon.start()
        try:
            session(daemon)
        finally:
            end_traced(daemon)
        return Audit(Trace(path), daemon.state)
    return traced


def test_uploads_are_on_the_disk_before_their_answer(traced):
    seen = {}

    def session(daemon):
        seen["model"] = daemon.upload("models", MODEL)
        seen["calibration"] = daemon.upload("calibrations", CALIB)
        external = seen["external"] = daemon.upload("models", EXTERNAL[0])
        r = daemon.request("PUT", f"/v1/models/{external['id']}/files/{EXTERNAL[1].name}", EXTERNAL[1])
        assert r.status == 201
        seen["complete"] = r.headers["X-Request-Id"]
    audit = traced(session)
    for what in ("model", "calibration", "external"):
        audit.acknowledged(seen[what]["id"], seen[what]["sha256"])
    answer = audit.answered(seen["complete"])
    sha = hashlib.sha256(EXTERNAL[1].read_bytes()).hexdigest()
    row, committed = audit.committed(sha)
    audit.blob(sha, row.begin)
    assert committed.end < answer.begin


def test_pieces_are_on_the_disk_before_their_answer(traced):
    seen, body = {}, MODEL.read_bytes()

    def session(daemon):
        url = create(daemon, len(body), kind="models")
        seen["upload"] = url.rsplit("/", 1)[1]
        seen["replies"] = [patch(daemon, url, at, body[at:at + 40000], **{"X-Request-Id": f"piece-{at}"}) for at in range(0, len(body), 40000)]
        model = seen["replies"][-1].headers["Content-Location"]
        seen["model"] = model.rsplit("/", 1)[1]
        seen["sha"] = daemon.json(model)["sha256"]
        assert daemon.request("HEAD", url, headers=VERSION).status == 200
    audit = traced(session)
    folder = audit.state / "uploads"
    file = folder / seen["upload"]
    made = audit.trace.first(("openat",), folder, f'"{seen["upload"]}", O_WRONLY|O_CREAT')
    row, committed = audit.committed(seen["upload"])
    audit.name(made, folder, row.begin)
    assert committed.end < audit.answered(f"/v1/uploads/{seen['upload']}").begin
    for n, r in enumerate(seen["replies"]):
        assert r.status == 204
        answer = audit.answered(f"X-Request-Id: piece-{n * 40000}")
        written = audit.trace.all(WRITES, file, before=answer.begin)[-1]
        synced = audit.trace.first(SYNCS, file, after=written.end)
        assert synced.end < answer.begin
        assert audit.trace.all(SYNCS, audit.wal, after=synced.end, before=answer.begin)
    row, committed = audit.committed(seen["model"])
    audit.blob(seen["sha"], row.begin)
    assert committed.end < audit.answered(f"Content-Location: /v1/models/{seen['model']}").begin


def test_jobs_and_deletions_are_on_the_disk_before_their_answer(traced):
    seen = {}

    def session(daemon):
        seen["job"] = daemon.job(daemon.model(), daemon.calibration(), num_candidates=5)
        daemon.succeed(seen["job"])
        seen["artifacts"] = daemon.json(f"/v1/jobs/{seen['job']}/artifacts")["data"]
        for n, (method, target, body) in enumerate((("PATCH", "", {"name": "a new name"}), ("DELETE", "", None))):
            headers = {"X-Request-Id": f"change-{n}"} | ({"Content-Type": "application/json"} if body else {})
            assert daemon.request(method, f"/v1/jobs/{seen['job']}{target}", body and json.dumps(body), headers).status in (200, 204)
    audit = traced(session)
    audit.acknowledged(seen["job"])
    assert len(seen["artifacts"]) > 5
    told = audit.answered('\\"status\\": \\"succeeded\\"')
    for a in seen["artifacts"]:
        row, committed = audit.committed(a["sha256"])
        audit.blob(a["sha256"], row.begin)
        assert committed.end < told.begin
    row, committed = audit.committed("a new name")
    answer = audit.answered("change-0")
    assert committed.end < answer.begin
    deleted = audit.answered("change-1")
    row = audit.trace.first(WRITES, audit.wal, after=answer.end)
    assert audit.trace.first(SYNCS, audit.wal, after=row.end).end < deleted.begin
