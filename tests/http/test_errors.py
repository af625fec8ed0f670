"""Everything that can fail does: system calls with EIO, ENOSPC and EINTR, allocations, a full volume, a locked database. No answer says that
something was kept when it was not, and the daemon serves on or ends in an orderly way.

Points are drawn by chance; SEQMSED_SEED repeats a run, SEQMSED_FAULTS asks for more of them (`make soak`).
"""
import contextlib
import errno
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time

import numpy
import pytest

import write_calls
from daemon import CALIB, COUNTED, FINAL, MODEL, PATIENCE, SANITIZER, SEQMSED, TOP, Daemon, can_trace, until

FAULTS = int(os.environ.get("SEQMSED_FAULTS", 20))
SEED = int(os.environ.get("SEQMSED_SEED", random.SystemRandom().randrange(1 << 32)))
MiB = 1 << 20
TUS = {"Tus-Resumable": "1.0.0"}


quick = pytest.mark.skipif(SANITIZER is not None or not can_trace(), reason="needs strace, and a program that is quick under it")


# ---- one session, as far as it comes ----

def attempt(daemon, method, target, body=None, headers=None):
    """The reply; None where no answer comes."""
    try:
        r = daemon.request(method, target, body, headers, seconds=40)
    except (ConnectionError, http.client.HTTPException, TimeoutError):
        return None
    # strace fails a call by making it one that does not exist, which an engine's walls do not let pass.
    assert r.status < 300 or r.status in (404, 409, 410, 500, 503, 507) or b"(Bad system call)" in r.body, r
    return r


def step(daemon, method, target, body=None):
    """The id that a 2xx answer acknowledges; None where there is none."""
    r = attempt(daemon, method, target, body, {"Content-Type": "application/json"} if isinstance(body, str) else {})
    return r.json()["id"] if r and r.status in (200, 201, 202) else None


def in_pieces(daemon, body):
    """The same for calibration data that comes in pieces, and goes on where it broke off."""
    kind = {"Upload-Length": str(len(body)), "Upload-Metadata": "kind Y2FsaWJyYXRpb25z"}
    created = attempt(daemon, "POST", "/v1/uploads", headers=TUS | kind)
    for _ in range(6 if created and created.status == 201 else 0):
        r = attempt(daemon, "HEAD", created.headers["Location"], headers=TUS)
        at = int(r.headers["Upload-Offset"]) if r and r.status == 200 else 0
        piece = TUS | {"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}
        r = attempt(daemon, "PATCH", created.headers["Location"], body[at:at + len(body) // 2 + 1], piece)
        if r and r.status == 204 and r.headers["Content-Location"]:
            return r.headers["Content-Location"].rsplit("/", 1)[1]
    return None


def session(daemon, seen):
    """Uploads, a job, its result; what was acknowledged goes into seen."""
    seen["models"] = step(daemon, "PUT", "/v1/models", MODEL)
    seen["calibrations"] = in_pieces(daemon, CALIB.read_bytes())
    if not seen["models"] or not seen["calibrations"]:
        return
    seen["jobs"] = step(daemon, "POST", "/v1/jobs", '{"model": "%s", "calibration": "%s", "params": {"num_candidates": 5}}' % (
        seen["models"], seen["calibrations"]))
    end = time.monotonic() + 30
    while seen["jobs"] and time.monotonic() < end:
        with contextlib.suppress(ConnectionError, http.client.HTTPException, TimeoutError):
            r = daemon.request("GET", f"/v1/jobs/{seen['jobs']}", seconds=10)
            if r.status == 200 and r.json()["status"] in FINAL:
                return
        if daemon.process.poll() is not None:
            return
        time.sleep(0.05)


def check(folder, seen, expected):
    """In a new daemon over the same state: everything that was acknowledged is there, and right."""
    daemon = Daemon(folder)
    daemon.may_log_errors = True
    daemon.start()
    try:
        for kind, file in (("models", MODEL), ("calibrations", CALIB)):
            if seen.get(kind):
                r = daemon.get(f"/v1/{kind}/{seen[kind]}")
                assert r.status == 200 and r.json()["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest(), (kind, r)
        if seen.get("jobs"):
            j = daemon.wait(seen["jobs"])
            # An error while it ran may have failed it, with a reason; it is never done wrong.
            assert j["status"] == "succeeded" or (j["status"] == "failed" and j["error"]["code"] in (
                "io", "internal", "disk-full", "out-of-memory-budget", "worker-crashed", "ort-error", "not-an-onnx")), j
            if j["status"] == "succeeded":
                assert daemon.encodings(seen["jobs"]) == expected
    finally:
        assert daemon.stop()[0] == 0
    assert daemon.check_consistent() == 0


def run_with_error(daemon):
    """Returns what was acknowledged, and how the daemon ended."""
    seen = {}
    try:
        daemon.start("--http-threads", "1", "--request-threads", "1")
    except AssertionError:
        return seen, 1  # it said so, and ended, or could not say where it listens
    try:
        session(daemon, seen)
        return seen, daemon.stop(20)[0]
    except subprocess.TimeoutExpired:
        return seen, -signal.SIGKILL
    finally:
        if daemon.process is not None:
            daemon.kill()


# With about how many of each one thread makes in a session: strace counts them by thread.
CALLS = {"fsync": 26, "fdatasync": 17, "renameat": 9, "linkat": 1, "pwrite64": 220, "pread64": 53, "openat": 100, "unlinkat": 1, "ftruncate": 2,
         "write": 200, "mkdirat": 18, "mkdir": 5, "fcntl": 130, "flock": 3}


def once_or_more(dice, error, n):
    """strace's word for it: the n-th call, or from there on all, or (what everybody tries again would never end) every second."""
    sticky = dice.random() < 0.25
    return f"{n}+2" if sticky and error == "EINTR" else f"{n}+" if sticky else str(n)


@quick
@pytest.mark.seconds(1200 if FAULTS <= 100 else 36000)
def test_system_calls_that_fail(tmp_path, reference):
    print(f"SEQMSED_SEED={SEED}")
    dice = random.Random(SEED)
    acknowledged, expected = 0, reference(num_candidates=5)
    for i in range(FAULTS):
        call = dice.choice(list(CALLS))
        error, n = dice.choice(("EIO", "ENOSPC", "EINTR")), dice.randint(1, CALLS[call])
        when = once_or_more(dice, error, n)
        folder = tmp_path / str(i)
        folder.mkdir()
        daemon = Daemon(folder)
        daemon.prefix = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"]
        seen, code = run_with_error(daemon)
        print(f"{call} {error} {when}: {sorted(k for k, v in seen.items() if v)}, ended with {code}")
        # No crash; but the event loop ends a process in which threads cannot wake each other: a write to a counter, which a kernel never refuses.
        assert code in (0, 1, -signal.SIGKILL) or (call == "write" and code == -signal.SIGABRT), (call, error, when, code)
        acknowledged += sum(1 for v in seen.values() if v)
        check(folder, seen, expected)
        shutil.rmtree(folder)
    assert acknowledged > FAULTS // 2


def run_failing(folder, lib, *at):
    """The same with a call that fails, by its number in the whole session."""
    folder.mkdir()
    orders, daemon = write_calls.Orders(lib, folder / "orders"), Daemon(folder)
    orders.at(*at)
    daemon.env = orders.env
    seen, code = run_with_error(daemon)
    return orders, seen, code


@write_calls.needs_it
@pytest.mark.seconds(1200 if FAULTS <= 100 else 36000)
def test_every_call_that_changes_something_fails(tmp_path, reference):
    """Once, and with all of its kind after it. Where FAULTS allows it, every call of the session has its turn (EINTR, short writes: test_short_io.py)."""
    print(f"SEQMSED_SEED={SEED}")
    dice, lib, expected = random.Random(SEED), write_calls.library(tmp_path), reference(num_candidates=5)
    undisturbed, seen, code = run_failing(tmp_path / "undisturbed", lib, 0)
    assert code == 0 and all(seen.values()) and len(seen) == 3
    points = [(n, dice.choice((errno.EIO, errno.ENOSPC, errno.EINTR)), on) for n in range(1, undisturbed.count + 1) for on in (False, True)]
    dice.shuffle(points)
    acknowledged, hit = 0, 0
    for i, (n, error, on) in enumerate(points[:FAULTS]):
        orders, seen, code = run_failing(tmp_path / str(i), lib, n, error, on)
        what = orders.name(n) if orders.hit else "nothing"
        print(f"{n}{'+' if on else ''} {errno.errorcode[error]} {what}: {sorted(k for k, v in seen.items() if v)}, ended with {code}")
        assert code in (0, 1, -signal.SIGKILL), (n, error, on, code)  # no crash
        acknowledged += sum(1 for v in seen.values() if v)
        hit += bool(orders.hit)
        check(tmp_path / str(i), seen, expected)
        shutil.rmtree(tmp_path / str(i))
    print(f"{undisturbed.count} calls: {undisturbed.names()}; {hit} of {min(FAULTS, len(points))} were met")
    assert acknowledged > min(FAULTS, len(points)) // 2 and hit >= 0.9 * min(FAULTS, len(points))


@contextlib.contextmanager
def failing(daemon, call, error, n):
    """While this lasts, the n-th such call of each of its threads fails."""
    argv = ["strace", "-f", "-o", "/dev/null", "-p", str(daemon.pid), "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={n}"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as strace:
        assert "attached" in strace.stderr.readline()
        try:
            yield
        finally:
            strace.terminate()


@quick
@pytest.mark.parametrize("n, what", [(1, "what came"), (2, "the whole file, under its new name")])
def test_what_could_not_be_synced_is_given_up(start, n, what):
    """A second fsync may succeed though the kernel dropped the bytes: nobody may get as far as trying it."""
    daemon, body = start("--request-threads", "1"), MODEL.read_bytes()
    daemon.may_log_errors = True
    r = daemon.request("POST", "/v1/uploads", headers=TUS | {"Upload-Length": str(len(body)), "Upload-Metadata": "kind bW9kZWxz"})
    url, piece = r.headers["Location"], TUS | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    with failing(daemon, "fsync", "EIO", n):
        assert daemon.request("PATCH", url, body, piece).status == 500, what
    assert daemon.request("HEAD", url, headers=TUS).status == 404
    assert daemon.request("PATCH", url, body, piece).status == 404
    assert daemon.json("/v1/models")["data"] == [] and daemon.kept()[0].keys() <= {"lock", "speed"}


# ---- memory ----

class Orders:
    """What fail_alloc.c is told, while the daemon runs: four numbers in a file."""
    COUNT, AT, ONE_IN, FAILED = range(4)

    def __init__(self, library, path):
        path.write_bytes(bytes(32))
        self.numbers = numpy.memmap(path, "int64", "r+")
        self.env = {"LD_PRELOAD": str(library), "FAIL_ALLOC": str(path)}
        if SANITIZER == "asan":
            runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, check=True, text=True).stdout.strip()
            self.env["LD_PRELOAD"] += ":" + os.path.realpath(runtime)
            self.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"

    def __getitem__(self, which):
        return int(self.numbers[which])

    def __setitem__(self, which, n):
        self.numbers[which] = n


@pytest.fixture(name="orders")
def fixture_orders(tmp_path):
    """orders(folder): for a daemon whose allocations fail."""
    if SANITIZER == "tsan" or not shutil.which("gcc"):
        pytest.skip("needs a compiler, and an allocator that can be wrapped")
    library = tmp_path / "fail_alloc.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(TOP / "tests/http/fail_alloc.c"), "-ldl"], check=True)
    return lambda folder: Orders(library, folder / "orders")


@pytest.mark.seconds(1200 if FAULTS <= 100 else 36000)
@pytest.mark.skipif(COUNTED, reason="what counts does not survive it")
@pytest.mark.skipif(SANITIZER is not None, reason="the release build has it; with sanitizers: test_memory_that_runs_out_now_and_then")
def test_allocations_that_fail(tmp_path, reference, orders):
    """One after the other of start, uploads, a job and its result; the daemon's own, for engines start without the library."""
    print(f"SEQMSED_SEED={SEED}")
    dice = random.Random(SEED)
    expected = reference(num_candidates=5)

    def run(i, fail_at):
        folder = tmp_path / str(i)
        folder.mkdir()
        daemon, seen, o = Daemon(folder), {}, orders(folder)
        daemon.env, o[Orders.AT] = o.env, fail_at
        code = 1
        with contextlib.suppress(AssertionError):
            daemon.start("--http-threads", "1", "--request-threads", "1")
        if daemon.process is not None:
            session(daemon, seen)
            code = daemon.process.poll()
            if code is None:
                code, _ = daemon.stop(20)
            else:
                daemon.process.stdout.close()
                daemon.process = None
        assert code in (0, 1), (fail_at, code, daemon.stderr()[-2000:])
        check(folder, seen, expected)
        shutil.rmtree(folder)
        return o[Orders.COUNT], seen
    total, seen = run("all", 0)
    assert all(seen.values())
    points = sorted(dice.sample(range(1, total), min(FAULTS, total - 1)))
    kept = [sum(1 for v in run(i, n)[1].values() if v) for i, n in enumerate(points)]
    print(f"{total} allocations, {len(points)} failed; acknowledged after them: {kept}")


def ask(daemon, method, target, body=None):
    """The reply, which is whole and has a status that may be; None where none came."""
    try:
        headers = {"Content-Type": "application/json"} if isinstance(body, str) else {}
        r = daemon.request(method, target, body, headers, seconds=10, checked=False)
    except (OSError, http.client.HTTPException):
        return None
    assert r.status in (200, 201, 202, 404, 409, 500, 503), (method, target, r)
    return r


@pytest.mark.seconds(300 if FAULTS <= 100 else 36000)
@pytest.mark.skipif("SEQMSED_FAULTS" not in os.environ, reason="by chance, and for long: SEQMSED_FAULTS asks for it, as make soak does")
def test_memory_that_runs_out_now_and_then(tmp_path, reference, orders):
    """One daemon, asked again and again while one allocation in 3,000 fails. When there is memory again it serves as before."""
    daemon, o, jobs = Daemon(tmp_path), orders(tmp_path), []
    daemon.env, daemon.may_log_errors = o.env, True
    daemon.start("--workers", "1")
    model, calibration, begun = daemon.model(), daemon.calibration(), time.monotonic()
    order = '{"model": "%s", "calibration": "%s", "params": {"num_candidates": 5, "reuse": false}}' % (model, calibration)
    o[Orders.ONE_IN] = 3000
    while time.monotonic() - begun < max(10, FAULTS / 3):
        ask(daemon, "PUT", "/v1/models", MODEL)
        r = ask(daemon, "POST", "/v1/jobs", order)
        if r and r.status == 202:
            jobs.append(r.json()["id"])
            for target in ("?wait=1", "", "/layers", "/encodings"):
                ask(daemon, "GET", f"/v1/jobs/{jobs[-1]}{target}")
        for target in ("/v1/jobs", "/v1/queue", "/metrics"):
            ask(daemon, "GET", target)
        assert daemon.process.poll() is None, daemon.stderr()[-4000:]
    o[Orders.ONE_IN] = 0
    for job in jobs:
        j = daemon.wait(job, 120)
        assert j["status"] == "succeeded" or j["error"]["code"] in ("internal", "out-of-memory-budget", "worker-crashed", "io"), j
        assert j["status"] != "succeeded" or daemon.encodings(job) == reference(num_candidates=5)
    daemon.succeed(daemon.job(daemon.model(), calibration, num_candidates=5))
    print(f"{o[Orders.FAILED]} allocations failed of {o[Orders.COUNT]}, {len(jobs)} jobs were acknowledged")
    assert o[Orders.FAILED] > 5 and jobs
    daemon.close()
    assert daemon.check_consistent() == 0


# ---- a volume that is full ----

@pytest.fixture(name="volume")
def fixture_volume(tmp_path):
    """A file system of 64 MB."""
    folder = tmp_path / "volume"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def array(megabytes, seed):
    """An .npy file of that size."""
    header = numpy.lib.format.header_data_from_array_1_0(numpy.zeros((0, MiB // 4), "float32")) | {"shape": (megabytes, MiB // 4)}
    import io  # pylint: disable=import-outside-toplevel
    out = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + bytes([seed]) * (megabytes * MiB)


def test_a_full_volume(volume, long_calib):
    daemon = Daemon(volume)
    daemon.start("--min-free-bytes", "0", "--workers", "1")
    try:
        model = daemon.model()
        first = daemon.calibration(array(30, 1))
        r = daemon.request("PUT", "/v1/calibrations", array(40, 2))
        assert (r.status, r.code) == (507, "disk-full"), r
        until(lambda: not list((daemon.state / "parts").iterdir()), "the part is gone")
        # Nearly no space is left: what reads goes on, what writes says so.
        (volume / "ballast").write_bytes(b"\1" * (shutil.disk_usage(volume).free - 64 * 1024))
        assert daemon.get(f"/v1/models/{model}/content").body == MODEL.read_bytes()
        assert daemon.get(f"/v1/calibrations/{first}").status == 200 and daemon.get("/v1/jobs").status == 200
        assert daemon.request("PUT", "/v1/calibrations", array(1, 3)).status == 507
        # And with space it works as before.
        (volume / "ballast").unlink()
        assert daemon.request("DELETE", f"/v1/calibrations/{first}").status == 204
        small = daemon.calibration()
        daemon.succeed(daemon.job(model, small, num_candidates=2))
        assert daemon.request("PUT", "/v1/calibrations", array(40, 2)).status == 201
    finally:
        assert daemon.stop()[0] == 0
    assert daemon.check_consistent() == 0


def test_a_job_waits_for_space(volume):
    """A layer that cannot be stored is stored when there is space again; the engine waits meanwhile."""
    daemon = Daemon(volume)
    daemon.start("--min-free-bytes", "0", "--workers", "1")
    try:
        model, calibration = daemon.model(), daemon.calibration()
        daemon.succeed(daemon.job(model, calibration, num_candidates=2))
        (volume / "ballast").write_bytes(b"\1" * max(0, shutil.disk_usage(volume).free - 150 * 1024))
        job = step(daemon, "POST", "/v1/jobs", '{"model": "%s", "calibration": "%s", "params": {"num_candidates": 3}}' % (model, calibration))
        time.sleep(2)
        (volume / "ballast").unlink()
        if job:  # else it was refused, which is as good
            j = daemon.wait(job)
            assert j["status"] == "succeeded" or j["error"]["code"] == "disk-full", j
        daemon.succeed(daemon.job(model, calibration, num_candidates=4))
    finally:
        assert daemon.stop()[0] == 0
    assert daemon.check_consistent() == 0


# ---- a database that somebody else holds ----

@pytest.mark.seconds(120)
def test_a_locked_database(start, long_calib):
    daemon = start("--workers", "1")
    model, calibration, long_id = daemon.model(), daemon.calibration(), daemon.calibration(long_calib)
    running = daemon.job(model, long_id)
    daemon.running(running)
    lock = sqlite3.connect(daemon.state / "seqmsed.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    begun, refused = time.monotonic(), 0
    while time.monotonic() - begun < 30:
        asked = time.monotonic()
        r = daemon.submit(model=model, calibration=calibration, params={"num_candidates": 2})
        assert (r.status, r.code) == (503, "busy") and int(r.headers["Retry-After"]) > 0, r
        assert time.monotonic() - asked < 5 * PATIENCE
        assert daemon.get(f"/v1/models/{model}").status == 200 and daemon.json(f"/v1/jobs/{running}")["status"] == "running"
        assert daemon.request("GET", "/readyz", checked=False).status == 503 and daemon.get("/livez").status == 200
        refused += 1
        time.sleep(1)
    lock.execute("ROLLBACK")
    lock.close()
    assert refused > 3
    daemon.succeed(running)
    daemon.succeed(daemon.job(model, calibration, num_candidates=2))
    assert daemon.get("/readyz").status == 200


# ---- nobody reads where it listens ----

@pytest.mark.parametrize("shell", ['exec "$@" >&-', 'exec "$@" >/dev/full', 'exec "$@"'], ids=["closed", "full", "nobody reads"])
def test_a_standard_output_that_takes_nothing(tmp_path, shell):
    """A service's output may be anything: it serves all the same, and its log says where, and that it could not say so elsewhere."""
    daemon = Daemon(tmp_path)
    reader, pipe = os.pipe()
    os.close(reader)
    with open(daemon.log, "ab") as log:
        daemon.process = subprocess.Popen(["sh", "-c", shell, "sh", SEQMSED, "serve", "--listen", "127.0.0.1:0", "--state-dir", str(daemon.state)],
                                          stdin=subprocess.DEVNULL, stdout=pipe, stderr=log)
    os.close(pipe)

    def said(message):
        return [x for x in map(json.loads, daemon.stderr().split("\n")[:-1]) if x["message"] == message]
    try:
        until(lambda: said("listening"), "it listens")
        daemon.port = int(said("listening")[0]["at"].rsplit(":", 1)[1])
        assert [x["level"] for x in said("the address could not be printed")] == ["warn"]
        daemon.succeed(daemon.job(daemon.model(), daemon.calibration(), num_candidates=2))
    finally:
        daemon.process.send_signal(signal.SIGTERM)
        code = daemon.process.wait(20 * PATIENCE)
        daemon.process = None
    assert code == 0
    daemon.check_stderr()
    assert daemon.check_consistent() == 0
