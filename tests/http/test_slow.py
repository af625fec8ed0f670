"""Clients that are slow, silent or many: each is closed by its deadline, and nobody else notices. SEQMSED_CONNECTIONS and SEQMSED_SLOW_CLIENTS ask for
more of them (`make soak`)."""
import json
import os
import re
import socket
import threading
import time

import pytest

from daemon import MODEL, PATIENCE, SANITIZER, SLOW, until

pytestmark = pytest.mark.skipif(SANITIZER is not None, reason="its limits are seconds, which sanitizers stretch")

CONNECTIONS = int(os.environ.get("SEQMSED_CONNECTIONS", 2000 // SLOW))
SLOW_CLIENTS = int(os.environ.get("SEQMSED_SLOW_CLIENTS", 200 // SLOW))
LIMITS = ("--header-seconds", "2", "--idle-seconds", "3", "--slow-seconds", "2", "--stall-seconds", "2", "--max-connections", "3000")


class Drip:
    """A connection that sends a piece of its request now and then."""

    def __init__(self, daemon, first, piece):
        self.socket, self.piece = socket.create_connection(("127.0.0.1", daemon.port)), piece
        self.begin, self.end = time.monotonic(), None
        self.socket.sendall(first)

    def drip(self):
        """Sends a piece; notes when the daemon has closed."""
        if self.end is None:
            try:
                self.socket.sendall(self.piece)
                self.socket.setblocking(False)
                closed = self.socket.recv(4096) == b""
            except BlockingIOError:
                closed = False
            except OSError:
                closed = True
            self.socket.setblocking(True)
            if closed:
                self.end = time.monotonic()
                self.socket.close()
        return self.end is not None


def drip_all(drips, seconds):
    end = time.monotonic() + seconds
    while not all([d.drip() for d in drips]):
        assert time.monotonic() < end, f"{sum(d.end is None for d in drips)} of {len(drips)} are still there"
        time.sleep(0.2)
    return max(d.end - d.begin for d in drips)


class Healthy:
    """Somebody who asks all the time meanwhile."""

    def __init__(self, daemon):
        self.daemon, self.times, self.on = daemon, [], True
        self.thread = threading.Thread(target=self.ask)
        self.thread.start()

    def ask(self):
        c = self.daemon.connection()
        while self.on:
            begin = time.monotonic()
            c.request("GET", "/livez")
            assert c.getresponse().read()
            self.times.append(time.monotonic() - begin)
            time.sleep(0.005)
        c.close()

    def stop(self):
        """The strict figure is p99; on a machine that has other things to do it says more about those."""
        until(lambda: len(self.times) > 100 or not self.thread.is_alive(), "a hundred requests are answered")
        self.on = False
        self.thread.join()
        p50, p99 = (sorted(self.times)[int(len(self.times) * p)] * 1000 for p in (0.5, 0.99))
        print(f"meanwhile: {len(self.times)} requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        assert len(self.times) > 100 and p50 < 50 * PATIENCE


@pytest.mark.seconds(90)
@pytest.mark.parametrize("first, piece", [
    (b"GET /liv", b"e"), (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: ", b"y"), (b"", b""),
    (b"PUT /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx", b"x"),
    (b"PUT /v1/models HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    (b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\nx", b"x"),
], ids=["line", "header", "nothing", "body", "chunks", "refused"])
def test_slow_senders_are_closed(start, first, piece):
    daemon = start(*LIMITS)
    healthy = Healthy(daemon)
    drips = [Drip(daemon, first, piece) for _ in range(SLOW_CLIENTS)]
    longest = drip_all(drips, 15 * PATIENCE)
    healthy.stop()
    print(f"the last one was closed after {longest:.1f} s")
    until(lambda: not [p for p in daemon.files() if p.startswith("parts/")], "parts are gone")


@pytest.mark.seconds(90)
def test_slow_readers_are_closed(start):
    daemon = start(*LIMITS)
    # Wide enough that no buffer between us holds it.
    model = daemon.model()
    job = daemon.job(model, daemon.calibration())
    daemon.succeed(job)
    with daemon.database() as d:
        blob, = d.execute("SELECT sha256 FROM models").fetchone()
    path = daemon.state / "blobs" / blob[:2] / blob
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(64 << 20))
    try:
        drips = [Drip(daemon, f"GET /v1/models/{model}/content HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), b"") for _ in range(20)]
        end = time.monotonic() + 20 * PATIENCE
        while int(metric(daemon, "connections")) > 1:  # closed by the deadline, or by the library because nothing moves
            assert time.monotonic() < end, metric(daemon, "connections")
            for d in drips:
                d.socket.setblocking(False)
                try:
                    d.socket.recv(10)
                except OSError:
                    pass
            time.sleep(0.2)
    finally:
        path.write_bytes(whole)


def test_quick_clients_are_left_alone(start):
    """One that is idle between requests for less than it may, and one that uploads at a leisurely, but sufficient pace."""
    daemon = start(*LIMITS, "--idle-seconds", "30", "--stall-seconds", "30", "--min-bytes-per-second", "1000")
    c = daemon.connection()
    for _ in range(3):
        c.request("GET", "/livez")
        assert c.getresponse().read()
        time.sleep(2)
    c.close()
    body = MODEL.read_bytes()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as s:
        s.sendall(f"PUT /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        for i in range(0, len(body), len(body) // 8 + 1):
            s.sendall(body[i:i + len(body) // 8 + 1])
            time.sleep(0.6)
        assert s.recv(100).startswith(b"HTTP/1.1 201 ")


@pytest.mark.seconds(120)
def test_many_idle_connections(start):
    """Thousands that say nothing, or half a request: a healthy client's requests stay quick, and memory small."""
    daemon = start("--max-connections", str(CONNECTIONS + 100), "--header-seconds", "600", "--idle-seconds", "600")
    idle = []
    for i in range(CONNECTIONS):
        idle.append(socket.create_connection(("127.0.0.1", daemon.port)))
        if i % 2:
            idle[-1].sendall(b"GET /livez HTTP/1.1\r\nHost: local")
    until(lambda: int(metric(daemon, "connections")) >= CONNECTIONS, "all are there")
    Healthy(daemon).stop()
    assert int(metric(daemon, "connections")) >= CONNECTIONS
    print(f"{CONNECTIONS} connections: at most {daemon.peak_kib() >> 10} MiB")
    assert daemon.peak_kib() < 150 << 10
    for s in idle:
        s.close()


def test_one_address_has_its_share(start):
    daemon = start("--max-connections-per-address", "5")
    sockets = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(5)]
    time.sleep(0.3)
    with pytest.raises((ConnectionError, OSError, AssertionError)):
        daemon.json("/livez")
    sockets.pop().close()
    until(lambda: _answers(daemon), "there is room again")
    for s in sockets:
        s.close()


def _answers(daemon):
    try:
        return daemon.json("/livez")
    except OSError:
        return None


# ---- metrics ----

def metric(daemon, name):
    text = daemon.get("/metrics").body.decode()
    return re.search(rf"^seqmsed_{name} (\S+)$", text, re.M)[1]


def test_metrics(standing):
    before = standing.get("/metrics")
    assert before.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in before.body.decode().splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) seqmsed_\w+ .+|seqmsed_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+.e\d]+', line), line
    names = {m[1] for m in re.finditer(r"^# TYPE (seqmsed_\w+)", before.body.decode(), re.M)}
    assert len(names) > 12
    standing.get("/v1/nothing")
    standing.get("/v1/models/x")
    until(lambda: 'route="/v1/models/{}",status="4xx"} 1\n' in standing.get("/metrics").body.decode(), "it is counted", 5)
    text = standing.get("/metrics").body.decode()
    assert 'seqmsed_jobs{status="succeeded"} 1\n' in text and 'seqmsed_job_attempts_total{outcome="succeeded"} 1\n' in text
    assert int(metric(standing, "http_received_bytes_total")) > MODEL.stat().st_size
    buckets = [int(n) for n in re.findall(r"_bucket\{le=\"[^\"]+\"\} (\d+)", text)]
    assert buckets == sorted(buckets) and buckets[-1] == int(re.search(r"duration_seconds_count (\d+)", text)[1])


def test_requests_and_traces_have_names(daemon):
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    r = daemon.get("/livez", traceparent=f"00-{trace}-{span}-01", X_Request_Id="mine")
    ours = re.fullmatch(rf"00-{trace}-([0-9a-f]{{16}})-01", r.headers["traceparent"])[1]
    assert ours != span and r.headers["X-Request-Id"] == "mine"
    for wrong in ("", "00-0-0-01", f"00-{'0' * 32}-{span}-01", f"01-{trace}-{span}-01", f"00-{trace.upper()}-{span}-01"):
        assert trace not in daemon.get("/livez", traceparent=wrong).headers["traceparent"]
    def logged():
        lines = [json.loads(line) for line in daemon.stderr().splitlines()]
        return [x for x in lines if x.get("id") == "mine"]
    line, = until(logged, "it is in the log")
    assert (line["trace_id"], line["method"], line["target"], line["status"], line["route"]) == (trace, "GET", "/livez", 200, "/livez")
