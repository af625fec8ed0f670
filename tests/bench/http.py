#!/usr/bin/env python3
"""The daemon under load: latency of reads while jobs are submitted and run, and memory of a large upload.

    tests/bench/http.py [--seqmsed build/seqmsed] [--submits 100] [--gigabytes 1] [--strict]

    GET p50, p99    milliseconds of small reads over a kept connection, while two jobs run and --submits more are submitted
    submit p99      milliseconds of those submits; each of them waits for the disk
    upload          seconds of --gigabytes of noise (refused at the end, since it is no model), and of a calibration set of that
                    size, which is kept; MB/s; and by how much both, and a download, raised the daemon's peak memory

--strict fails (exit status 1) where GET p99 is not under 50 ms or memory grew by 20 MB or more: the goals on an idle machine.
Linux only. The state folder is a temporary one, in $TMPDIR.
"""
import argparse
import os
import pathlib
import sys
import tempfile
import time
import zlib

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(TOP / "tests/http")  # instead of this folder, where this file would be taken for Python's http
P99_MS, GROWN_MB = 50, 20


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def latency(daemon, helpers, folder, submits):
    import numpy
    images = numpy.load(helpers.CALIB)["image"]
    numpy.savez(folder / "long.npz", image=numpy.concatenate([images] * 80))
    model, quick = daemon.model(), daemon.calibration()
    slow = daemon.calibration(folder / "long.npz")
    for _ in range(2):
        daemon.job(model, slow, num_candidates=100000)
    helpers.until(lambda: daemon.json("/v1/queue")["running"] == 2, "both run")
    on = [True]

    def one(i):
        times = []
        if i == 0:
            for _ in range(submits):
                start = time.monotonic()
                daemon.job(model, quick)
                times.append((time.monotonic() - start) * 1000)
            on[0] = False
            return times
        c = daemon.connection()
        while on[0] or len(times) < 400:
            for target in ("/v1/jobs?limit=10", "/v1/queue", f"/v1/models/{model}", "/livez"):
                start = time.monotonic()
                c.request("GET", target)
                r = c.getresponse()
                assert r.status == 200 and r.read()
                times.append((time.monotonic() - start) * 1000)
            time.sleep(0.002)
        c.close()
        return times
    submitted, *read = helpers.in_threads(3, one)
    read = sum(read, [])
    for j in daemon.json("/v1/jobs?limit=1000")["data"]:
        if j["status"] in ("queued", "running"):
            daemon.request("POST", f"/v1/jobs/{j['id']}/cancel")
    print(f"GET      {len(read)} requests, p50 {percentile(read, 0.5):.1f} ms, p99 {percentile(read, 0.99):.1f} ms, max {max(read):.1f} ms")
    print(f"submit   {len(submitted)} requests, p50 {percentile(submitted, 0.5):.1f} ms, p99 {percentile(submitted, 0.99):.1f} ms")
    return percentile(read, 0.99)


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


def upload(daemon, size):
    def timed(what, kind, pieces, length, status):
        start = time.monotonic()
        r = daemon.request("PUT", f"/v1/{kind}", pieces, {"Content-Length": str(length)}, seconds=600)
        seconds = time.monotonic() - start
        assert r.status == status, r
        print(f"upload   {what}: {length / 1e6:.0f} MB in {seconds:.1f} s, {length / 1e6 / seconds:.0f} MB/s")
        return r

    def noise():
        piece = os.urandom(1 << 20)
        for _ in range(size >> 20):
            yield piece

    head, zeros, tail = npz_of_zeros(size)

    def archive():
        yield head
        piece = bytes(1 << 20)
        for at in range(0, zeros, len(piece)):
            yield piece[:min(len(piece), zeros - at)]
        yield tail
    daemon.model()
    before = daemon.peak_kib()
    timed("noise", "models", noise(), size >> 20 << 20, 422)
    kept = timed("calibration", "calibrations", archive(), len(head) + zeros + len(tail), 201).json()
    c = daemon.connection(600)
    start = time.monotonic()
    c.request("GET", f"/v1/calibrations/{kept['id']}/content")
    r, got = c.getresponse(), 0
    while piece := r.read(1 << 20):
        got += len(piece)
    c.close()
    assert got == kept["size"]
    print(f"download {got / 1e6:.0f} MB in {time.monotonic() - start:.1f} s")
    grown = (daemon.peak_kib() - before) / 1000
    print(f"memory   peak grew by {grown:.1f} MB")
    return grown


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seqmsed", default=str(TOP / "build/seqmsed"))
    ap.add_argument("--submits", type=int, default=100)
    ap.add_argument("--gigabytes", type=float, default=1)
    ap.add_argument("--strict", action="store_true")
    args = ap.parse_args()
    os.environ["SEQMSED"] = args.seqmsed
    import daemon as helpers
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        daemon = helpers.Daemon(folder, "--workers", "2").start()
        try:
            p99 = latency(daemon, helpers, folder, args.submits)
            grown = upload(daemon, int(args.gigabytes * 2**30))
        finally:
            daemon.close()
    return 1 if args.strict and (p99 >= P99_MS or grown >= GROWN_MB) else 0


if __name__ == "__main__":
    sys.exit(main())
