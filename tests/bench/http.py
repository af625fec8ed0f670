#!/usr/bin/env python3
"""The daemon's speed, as tables of what was measured beside what it should be.

    tests/bench/http.py [--seqmsed build/seqmsed] [--claims build/bench/claims] [--strict] [TABLE ...]

    jobs      a table of 10,000 jobs, ended or waiting (ten owners, eleven priorities), beside one with a page of them, 50: seconds from the
              start of the daemon until it is ready; milliseconds of GET /v1/jobs, the same for a status that no job has, GET of one job,
              GET /v1/queue, each over a kept connection, while an engine stands still, and (×) how many times those of the small table that is;
              milliseconds of a worker's claim (bench/claims.c), which waits for the disk: the goal is 5 ms more than what the disk takes to sync
    crowd     2,000 connections that were asked once and are idle, 100 clients that send a byte of their headers now and then, and 100 that do so
              with a body: milliseconds of a healthy client's requests until the last slow one is closed, and how long after its deadline that is
    upload    a file of --gigabytes of noise (refused at the end, since it is no model), and a calibration set of that size, which is kept: MB/s beside
              those of sha256sum on the same file; how much the two, and a download, raised the daemon's peak memory
    submits   milliseconds of small reads over a kept connection while two jobs run and 100 more are submitted, and of the submits

Without a TABLE all of them. --strict fails (exit status 1) where a goal is missed; they are meant for a machine that does nothing else, and the
first lines say what it did. Linux only; the state folders are temporary ones in $TMPDIR, whose disk counts.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(TOP / "tests/http")  # instead of this folder, where this file would be taken for Python's http
MANY, PAGE = 10000, 50


class Table:
    """Lines of a name, figures, and where there is one the goal that a figure is to be under, or at least."""

    def __init__(self, name):
        self.missed = 0
        print(f"\n{name}", flush=True)

    def line(self, what, value, unit, under=None, least=None, note=""):
        bad = (under is not None and value > under) or (least is not None and value < least)
        goal = f"goal ≤ {under:g}" if under is not None else f"goal ≥ {least:g}" if least is not None else ""
        print(f"  {what:42} {value:10.2f} {unit:5} {goal:14} {'MISSED' if bad else '':7}{note}".rstrip(), flush=True)
        self.missed += bad

    def latency(self, what, ms, under=None, note=""):
        self.line(f"{what}, p50", percentile(ms, 0.5), "ms", note=note)
        self.line(f"{what}, p99", percentile(ms, 0.99), "ms", under=under)


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def ask(connection, target):
    """Milliseconds of a GET over a kept connection."""
    start = time.perf_counter()
    connection.request("GET", target)
    r = connection.getresponse()
    body = r.read()
    ms = (time.perf_counter() - start) * 1000
    assert r.status == 200 and body, (target, r.status, body)
    return ms


# ---- jobs ----

def copy_job(db, job, status, n):
    """n more of the job, with what a list or a look at one reads of it, of ten owners; as if they had been submitted."""
    rng = random.Random(n)
    columns = [c for _, c, *_ in db.execute("PRAGMA table_info(jobs)") if c not in ("id", "owner", "priority", "status")]
    ids = [f"job_{i:08x}{rng.getrandbits(96):024x}" for i in range(n)]
    db.executemany(f"INSERT INTO jobs(id, owner, priority, status, {', '.join(columns)}) SELECT ?, ?, ?, ?, {', '.join(columns)} FROM jobs WHERE id = ?",
                   [(i, f"owner{rng.randrange(10)}", rng.randrange(-5, 6), status, job) for i in ids])
    for table in ("artifacts", "events", "logs") if status == "succeeded" else ():
        rest = ", ".join(c for _, c, *_ in db.execute(f"PRAGMA table_info({table})") if c != "job_id")
        db.executemany(f"INSERT INTO {table}(job_id, {rest}) SELECT ?, {rest} FROM {table} WHERE job_id = ?", [(i, job) for i in ids])
    if status == "queued":
        db.execute("UPDATE jobs SET attempt = 0, started_at = NULL, finished_at = NULL, fraction = 0, layers_done = 0 WHERE status = 'queued'")
    return ids


@contextlib.contextmanager
def still_engine(daemon, helpers):
    """The engine at work stands still meanwhile, so that the processors are free. After fifteen seconds the daemon would take it for hung."""
    pid, = helpers.until(lambda: len(daemon.children()) == 1 and daemon.children(), "the engine runs")
    os.kill(pid, signal.SIGSTOP)
    yield
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def claims(program, state, n):
    return json.loads(subprocess.run([program, str(state), str(n)], check=True, capture_output=True, text=True).stdout)


def one_filling(table, name, helpers, folder, program, job, status, n, before):
    """Measures a copy of the state folder with n more jobs; before: the medians of the small table."""
    with contextlib.closing(sqlite3.connect(folder / "state/seqmsed.db")) as db, db:
        ids = copy_job(db, job, status, n)
        db.execute("INSERT OR REPLACE INTO turns VALUES ('', 0)")  # it and its high priority bring the long job to the worker
    daemon = helpers.Daemon(folder, "--workers", "1")
    start = time.perf_counter()
    daemon.start()
    try:
        helpers.until(lambda: daemon.get("/readyz").status == 200, "it is ready")
        table.line(f"{name}: ready after", time.perf_counter() - start, "s", under=2)
        medians = {}
        for what, targets in (("list", ["/v1/jobs"]), ("list of none", ["/v1/jobs?status=failed"]),
                              ("get", [f"/v1/jobs/{i}" for i in ids]), ("queue", ["/v1/queue"])):
            with still_engine(daemon, helpers), contextlib.closing(daemon.connection()) as c:
                ms = [ask(c, targets[i * 37 % len(targets)]) for i in range(500)]
            medians[what] = percentile(ms, 0.5)
            table.latency(f"{name}: {what}", ms, under=5, note=f"× {medians[what] / before[what]:.1f}" if before else "")
    finally:
        daemon.close()
    if status == "succeeded":  # some to claim
        with contextlib.closing(sqlite3.connect(folder / "state/seqmsed.db")) as db, db:
            copy_job(db, job, "queued", 300)
    r = claims(program, folder / "state", 200)
    table.line(f"{name}: claim, p50", r["p50_ms"], "ms", note=f"sync {r['sync_p50_ms']} ms")
    table.line(f"{name}: claim, p99", r["p99_ms"], "ms", under=5 + r["sync_p99_ms"], note=f"sync {r['sync_p99_ms']} ms")
    return medians


def jobs(args, helpers, folder):
    import numpy
    table = Table(f"jobs: {MANY} of them beside {PAGE}")
    daemon = helpers.Daemon(folder, "--workers", "1").start()
    try:
        images = numpy.load(helpers.CALIB)["image"]
        numpy.savez(folder / "long.npz", image=numpy.concatenate([images] * 80))
        model = daemon.model()
        job = daemon.job(model, daemon.calibration())
        daemon.succeed(job)
        daemon.running(daemon.job(model, daemon.calibration(folder / "long.npz"), num_candidates=100000))
    finally:
        daemon.close()
    with contextlib.closing(sqlite3.connect(folder / "state/seqmsed.db")) as db, db:
        db.execute("UPDATE jobs SET priority = 1000 WHERE status = 'queued'")
    small = None
    for name, status, n in (("small", "succeeded", PAGE), ("ended", "succeeded", MANY), ("waiting", "queued", MANY)):
        shutil.copytree(folder / "state", folder / name / "state")
        medians = one_filling(table, name, helpers, folder / name, args.claims, job, status, n, small)
        small = small or medians
    return table.missed


# ---- crowd ----

class Slow:
    """A connection that sends a byte of its request now and then."""

    def __init__(self, daemon, first):
        self.socket = socket.create_connection(("127.0.0.1", daemon.port))
        self.begin, self.end = time.perf_counter(), None
        self.socket.sendall(first)
        self.socket.setblocking(False)

    def drip(self):
        if self.end is not None:
            return
        try:
            self.socket.send(b"x")
            if self.socket.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.end = time.perf_counter()
        self.socket.close()


def idle_connection(daemon):
    s = socket.create_connection(("127.0.0.1", daemon.port))
    s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
    return s


def crowd(_args, helpers, folder):
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    deadline = 5
    daemon = helpers.Daemon(folder, "--max-connections", "3000", "--header-seconds", str(deadline), "--slow-seconds", str(deadline)).start()
    table = Table("crowd: 2000 idle connections, 200 slow clients")
    try:
        model, on = daemon.model(), [True]
        idle = [idle_connection(daemon) for _ in range(2000)]
        slow = [Slow(daemon, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: ") for _ in range(100)]
        slow += [Slow(daemon, b"PUT /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n") for _ in range(100)]

        def one(i):
            if i == 0:
                while any(s.end is None for s in slow) and time.perf_counter() < slow[0].begin + 60:
                    for s in slow:
                        s.drip()
                    time.sleep(0.2)
                on[0] = False
                return []
            ms = []
            with contextlib.closing(daemon.connection()) as c:
                while on[0]:
                    ms += [ask(c, target) for target in ("/v1/jobs?limit=10", "/v1/queue", f"/v1/models/{model}", "/livez")]
                    time.sleep(0.005)
            return ms
        ms = helpers.in_threads(2, one)[1]
        left = sum(s.end is None for s in slow)
        for s in idle:
            s.setblocking(False)
        gone = 0
        for s in idle:
            with contextlib.suppress(BlockingIOError):
                gone += s.recv(1) == b""
            s.close()
        table.latency(f"{len(ms)} requests", ms, under=50)
        table.line("slow clients that are still there", left, "", under=0)
        table.line("the last one was closed after its deadline", max(s.end or 1e9 for s in slow) - max(s.begin for s in slow) - deadline, "s", under=2)
        table.line("idle connections that were closed", gone, "", under=0)
    finally:
        daemon.close()
    return table.missed


# ---- upload ----

def npz_of_zeros(size):
    """A stored .npz of about that size, of one array of zeros: what comes before the zeros, how many they are, what comes behind."""
    rows = size // 256
    header = b"\x93NUMPY\1\0" + (118).to_bytes(2, "little") + (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 1, 8, 8), }}".ljust(117) + "\n").encode()
    crc, zeros = zlib.crc32(header), bytes(1 << 20)
    left = rows * 256
    while left:
        n = min(left, len(zeros))
        crc, left = zlib.crc32(zeros[:n], crc), left - n
    whole = len(header) + rows * 256
    local = b"PK\3\4" + (20).to_bytes(2, "little") + bytes(4) + b"\0\0\x21\0" + crc.to_bytes(4, "little") + whole.to_bytes(4, "little") * 2 + (
        9).to_bytes(2, "little") + bytes(2) + b"image.npy"
    central = b"PK\1\2" + (20).to_bytes(2, "little") * 2 + bytes(4) + b"\0\0\x21\0" + crc.to_bytes(4, "little") + whole.to_bytes(
        4, "little") * 2 + (9).to_bytes(2, "little") + bytes(16) + b"image.npy"
    end = b"PK\5\6" + bytes(4) + (1).to_bytes(2, "little") * 2 + len(central).to_bytes(4, "little") + (
        len(local) + whole).to_bytes(4, "little") + bytes(2)
    return local + header, rows * 256, central + end


def write_files(folder, size):
    noise, zeros = folder / "noise", folder / "zeros.npz"
    with open(noise, "wb") as f:
        for _ in range(size >> 20):
            f.write(os.urandom(1 << 20))
    head, n, tail = npz_of_zeros(size)
    with open(zeros, "wb") as f:
        f.write(head)
        for at in range(0, n, 1 << 20):
            f.write(bytes(min(1 << 20, n - at)))
        f.write(tail)
    os.sync()
    return noise, zeros


def rate_of(path, work):
    start = time.perf_counter()
    work()
    return path.stat().st_size / 1e6 / (time.perf_counter() - start)


def send(daemon, kind, path, status):
    """The file's bytes straight from the page cache, so that the client takes little of the machine."""
    head = f"PUT /v1/{kind} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {path.stat().st_size}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=600) as s, open(path, "rb") as f:
        s.sendall(head.encode())
        s.sendfile(f)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:500]
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


def fetch(daemon, target, size):
    with contextlib.closing(daemon.connection(600)) as c:
        c.request("GET", target)
        r, got = c.getresponse(), 0
        while piece := r.read(1 << 20):
            got += len(piece)
    assert got == size


def upload(args, helpers, folder):
    table = Table(f"upload of {args.gigabytes:g} GB")
    noise, zeros = write_files(folder, int(args.gigabytes * 2**30))
    digest = max(rate_of(noise, lambda: subprocess.run(["sha256sum", noise], check=True, capture_output=True)) for _ in range(3))
    table.line("sha256sum", digest, "MB/s")
    daemon = helpers.Daemon(folder).start()
    try:
        daemon.model()
        before, kept = daemon.peak_kib(), {}
        table.line("noise", rate_of(noise, lambda: send(daemon, "models", noise, 422)), "MB/s", least=digest / 2)
        table.line("calibration set", rate_of(zeros, lambda: kept.update(send(daemon, "calibrations", zeros, 201))), "MB/s", least=digest / 2)
        table.line("download", rate_of(zeros, lambda: fetch(daemon, f"/v1/calibrations/{kept['id']}/content", zeros.stat().st_size)), "MB/s")
        table.line("peak memory grew by", (daemon.peak_kib() - before) / 1000, "MB", under=20)
    finally:
        daemon.close()
    return table.missed


# ---- submits ----

def submits(_args, helpers, folder):
    import numpy
    table = Table("submits: reads while two jobs run and 100 are submitted")
    daemon = helpers.Daemon(folder, "--workers", "2").start()
    try:
        images = numpy.load(helpers.CALIB)["image"]
        numpy.savez(folder / "long.npz", image=numpy.concatenate([images] * 80))
        model, quick, slow = daemon.model(), daemon.calibration(), daemon.calibration(folder / "long.npz")
        for _ in range(2):
            daemon.job(model, slow, num_candidates=100000)
        helpers.until(lambda: daemon.json("/v1/queue")["running"] == 2, "both run")
        on = [True]

        def one(i):
            ms = []
            if i == 0:
                for _ in range(100):
                    start = time.perf_counter()
                    daemon.job(model, quick)
                    ms.append((time.perf_counter() - start) * 1000)
                on[0] = False
                return ms
            with contextlib.closing(daemon.connection()) as c:
                while on[0] or len(ms) < 400:
                    ms += [ask(c, target) for target in ("/v1/jobs?limit=10", "/v1/queue", f"/v1/models/{model}", "/livez")]
                    time.sleep(0.002)
            return ms
        submitted, *read = helpers.in_threads(3, one)
        for j in daemon.json("/v1/jobs?limit=1000")["data"]:
            if j["status"] in ("queued", "running"):
                daemon.request("POST", f"/v1/jobs/{j['id']}/cancel")
        read = sum(read, [])
        table.latency(f"{len(read)} reads", read, under=50)
        table.latency(f"{len(submitted)} submits", submitted)
    finally:
        daemon.close()
    return table.missed


TABLES = {"jobs": jobs, "crowd": crowd, "upload": upload, "submits": submits}


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="ascii") if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} in the last minute"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("tables", nargs="*", metavar="TABLE", choices=[*TABLES, []], help=", ".join(TABLES))
    ap.add_argument("--seqmsed", default=str(TOP / "build/seqmsed"))
    ap.add_argument("--claims", default=str(TOP / "build/bench/claims"))
    ap.add_argument("--gigabytes", type=float, default=1)
    ap.add_argument("--strict", action="store_true")
    args = ap.parse_args()
    os.environ["SEQMSED"] = args.seqmsed
    import daemon as helpers
    print(machine())
    missed = 0
    for name in args.tables or TABLES:
        with tempfile.TemporaryDirectory() as folder:
            missed += TABLES[name](args, helpers, pathlib.Path(folder))
    print(f"\n{missed} goals missed; load {os.getloadavg()[0]:.1f} at the end")
    return 1 if args.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
