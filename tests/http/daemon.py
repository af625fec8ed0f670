"""What the tests share: a real daemon, requests to it, and a look at what it keeps.

Every reply above 399 is checked to be a problem (RFC 9457), wherever it turns up.
"""
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SEQMSED = os.environ.get("SEQMSED", str(TOP / "build/seqmsed"))
DIGITS = TOP / "tests/data/digits"
ZOO = TOP / "tests/data/zoo"
MODEL, CALIB = DIGITS / "model.onnx", DIGITS / "calib.npz"
SHARED = pathlib.Path(os.environ.get("SEQMSED_SHARED", TOP.parent / "shared"))

# How much slower everything is than in a release build, and whether figures mean anything.
SANITIZER = next((s for s in ("asan", "tsan") if s in os.environ.get("SEQMSED_BUILD", SEQMSED).split("/")), None)
# Whether what is reached is counted: then engines write files as they end, and may.
COUNTED = "coverage" in os.environ.get("SEQMSED_BUILD", SEQMSED).split("/")
SLOW = {None: 1, "asan": 4, "tsan": 8}[SANITIZER]
# What a time that a test waits at most is multiplied with: the machine may have other things to do. How quick things are is for tests/bench.
PATIENCE = 5 * SLOW
FINAL = ("succeeded", "failed", "canceled")


def until(condition, what, seconds=60):
    """Polls until the condition gives something true, and gives that back."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"after {seconds * PATIENCE} s still not: {what}"
        time.sleep(0.01)


class Reply:
    def __init__(self, response, method, checked=True):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()
        if checked and self.status >= 400 and method != "HEAD":
            self.check_problem()

    def check_problem(self):
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.headers, self.body)
        p = self.json()
        assert p["type"] and p["title"] and p["detail"], p
        assert p["status"] == self.status, p
        assert p["request_id"] == self.headers["X-Request-Id"], p
        for entry in p.get("errors", []):
            assert set(entry) >= {"pointer", "detail"}, p

    def json(self):
        assert self.body.endswith(b"\n") and not self.body.endswith(b"\n\n"), self.body[-40:]
        return json.loads(self.body)

    @property
    def code(self):
        return self.json()["code"]

    @property
    def pointers(self):
        return [e["pointer"] for e in self.json().get("errors", [])]

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


class Daemon:
    """`seqmsed serve` over a state folder. It may be started again after it ended; what it said on stderr is kept as one text."""

    def __init__(self, folder, *flags):
        self.state, self.log, self.flags = folder / "state", folder / "stderr", flags
        self.env, self.prefix = {}, []
        self.process = self.port = None
        self.may_log_errors = False

    def start(self, *flags):
        assert self.process is None
        argv = [*self.prefix, SEQMSED, "serve", "--listen", "127.0.0.1:0", "--state-dir", str(self.state), *self.flags, *flags]
        env = {k: v for k, v in os.environ.items() if not k.startswith("SEQMSED_") or k == "SEQMSED_ONNXRUNTIME"} | self.env
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=env)
        poll = select.poll()  # select knows no descriptors above 1023
        poll.register(self.process.stdout, select.POLLIN)
        ready = poll.poll(20000 * PATIENCE)
        line = self.process.stdout.readline().decode() if ready else ""
        if not line.startswith("listening on http://127.0.0.1:"):
            self.kill()
            raise AssertionError(f"did not start: {line!r}\n{self.stderr()}")
        self.port = int(line.rsplit(":", 1)[1])
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _ended(self):
        self.process.stdout.close()
        self.process = None

    def stop(self, seconds=10):
        """SIGTERM; returns (exit status, seconds)."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._ended()
        return code, time.monotonic() - start

    def kill(self):
        """kill -9; its children must not outlive it."""
        children = self.children()
        self.process.kill()
        self.process.wait()
        self._ended()
        until(lambda: not any(is_alive(p) for p in children), "the engines of a killed daemon are gone", 5)

    def close(self):
        """The end of a test: an orderly end, and nothing bad on stderr."""
        try:
            if self.process is not None:
                code, _ = self.stop()
                assert code == 0, (code, self.stderr()[-4000:])
        finally:
            if self.process is not None:
                self.kill()
        self.check_stderr()

    def stderr(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def check_stderr(self):
        text = self.stderr()
        for bad in ("Sanitizer", "runtime error:", "Assertion", "FATAL"):
            assert bad not in text, text[-8000:]
        for line in text.splitlines():
            entry = json.loads(line)  # nothing but log lines
            assert self.may_log_errors or entry["level"] != "error", line

    def children(self):
        """Pids of the engines that run now."""
        if self.process is None:
            return []
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                    if int(parent) == self.pid and state != "Z":
                        found.append(int(entry.name))
        return found

    def handles(self):
        """How many descriptors and threads it has."""
        return [len(os.listdir(f"/proc/{self.pid}/{what}")) for what in ("fd", "task")]

    def peak_kib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(next(x for x in status.splitlines() if x.startswith("VmHWM:")).split()[1])

    # ---- requests ----

    def connection(self, seconds=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds * PATIENCE)

    def request(self, method, target, body=None, headers=None, seconds=60, checked=True):
        c = self.connection(seconds)
        try:
            if isinstance(body, pathlib.Path):
                body = body.read_bytes()
            with contextlib.suppress(BrokenPipeError):  # of a body that the daemon does not want the answer comes early
                c.request(method, target, body, headers or {})
            return Reply(c.getresponse(), method, checked)
        finally:
            c.close()

    def get(self, target, **headers):
        return self.request("GET", target, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def json(self, target):
        r = self.get(target)
        assert r.status == 200, r
        return r.json()

    def raw(self, data, method="GET", half_close=False, checked=True):
        """Bytes as they are over a socket of their own, and the reply; None when the daemon just closes. What is not even HTTP, the
        library under the daemon answers in its own way: checked=False."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20 * PATIENCE) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(s, method=method)
            try:
                response.begin()
            except (http.client.BadStatusLine, ConnectionResetError):
                return None
            return Reply(response, method, checked)

    # ---- the usual steps ----

    def upload(self, kind, body, query="", status=(200, 201)):
        r = self.request("PUT", f"/v1/{kind}{query}", body)
        assert r.status in status, r
        o = r.json()
        assert r.headers["Location"] == f"/v1/{kind}/{o['id']}"
        return o

    def model(self, body=MODEL):
        return self.upload("models", body)["id"]

    def calibration(self, body=CALIB, query=""):
        return self.upload("calibrations", body, query)["id"]

    def submit(self, **body):
        return self.request("POST", "/v1/jobs", json.dumps(body), {"Content-Type": "application/json"})

    def job(self, model, calibration, **params):
        """A job that searches, also when an equal one has done so."""
        r = self.submit(model=model, calibration=calibration, params={"reuse": False} | params)
        assert r.status == 202, r
        return r.json()["id"]

    def wait(self, job, seconds=60):
        """The job when it has ended."""
        end = time.monotonic() + seconds * PATIENCE
        while True:
            j = self.json(f"/v1/jobs/{job}?wait=5")
            if j["status"] in FINAL:
                return j
            assert time.monotonic() < end, j

    def succeed(self, job, seconds=60):
        j = self.wait(job, seconds)
        assert j["status"] == "succeeded", j
        return j

    def running(self, job):
        """Waits until the job has an engine, and gives its pid."""
        def engine():
            j = self.json(f"/v1/jobs/{job}")
            assert j["status"] not in FINAL, j
            return j["status"] == "running" and j["progress"]["heartbeat_at"] and self.children()
        return until(engine, f"{job} runs")[0]

    def encodings(self, job, version="1.0.0"):
        r = self.get(f"/v1/jobs/{job}/encodings?version={version}")
        assert r.status == 200, r
        return r.body

    # ---- what it keeps ----

    def files(self):
        """Paths and sizes of everything in the state folder but the database."""
        found = {}
        for path in self.state.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.name.startswith("seqmsed.db"):
                    found[str(path.relative_to(self.state))] = path.stat().st_size
        return found

    def rows(self):
        """How many rows every table has."""
        with contextlib.closing(self.database()) as d:
            tables = [t for (t,) in d.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
            return {t: d.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables}

    def database(self):
        return sqlite3.connect(f"file:{self.state / 'seqmsed.db'}?mode=ro", uri=True, timeout=10)

    def kept(self):
        return self.files(), self.rows()

    @contextlib.contextmanager
    def keeps_nothing(self):
        """What happens inside leaves no trace in the state folder (what was in flight may take a moment to go)."""
        before = self.kept()
        yield
        until(lambda: self.kept() == before, f"the state is again as it was: {before}", 5)

    def check_consistent(self):
        """Of a daemon that does not run: the database is whole, and the blobs are those that rows use, with the right bytes."""
        assert self.process is None
        with contextlib.closing(self.database()) as d:
            assert d.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert d.execute("PRAGMA foreign_key_check").fetchall() == []
            used = {sha for (sha,) in d.execute("SELECT DISTINCT sha256 FROM blob_uses")}
            live = d.execute("SELECT count(*) FROM jobs WHERE status IN ('running', 'canceling')").fetchone()[0]
        blobs = {p.name: p for p in (self.state / "blobs").rglob("*") if p.is_file()}
        assert set(blobs) == used
        for name, path in blobs.items():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == name
        assert list((self.state / "parts").iterdir()) == []
        assert list((self.state / "empty").iterdir()) == []
        return live


def patient(daemon):
    """Makes all requests to it those of a client who asks again where the disk is so slow that others' changes take seconds (503 busy), of which
    the daemon also complains in its log."""
    request = daemon.request

    def ask(method, *args, **kwargs):
        while True:
            r = request(method, *args, **kwargs)
            if r.status != 503 or method == "HEAD" or r.code != "busy":
                return r
            time.sleep(min(1, int(r.headers["Retry-After"])))
    daemon.request, daemon.may_log_errors = ask, True
    return daemon


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors(pid):
    """What a process holds open. It may close some while they are looked at; those are left out."""
    held = []
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.append(os.readlink(fd))
    return held


def can_trace():
    return shutil.which("strace") and subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


def in_threads(n, work):
    """Runs work(0) … work(n - 1) at once; returns their results, raises the first failure."""
    results, failures = [None] * n, []

    def one(i):
        try:
            results[i] = work(i)
        except BaseException as e:  # pylint: disable=broad-except
            failures.append(e)
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]
    return results


def quantize(folder, model, calib, version="1.0.0", **params):
    """The encodings that the command line makes with the same parameters."""
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in params.items()]
    done = subprocess.run([SEQMSED, "quantize", str(model), str(calib), "-o", str(folder), "--quiet", "--encoding-version", version,
                           *flags], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "model.encodings").read_bytes()
