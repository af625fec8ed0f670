"""The engine's walls, from outside: what a running one may still do, what it does, and what models get that want too much."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy
import pytest

from daemon import COUNTED, PATIENCE, SANITIZER, TOP, Daemon, is_alive, until

sys.path.append(str(TOP / "tests/cli"))
from onnx_bytes import model, node, tensor, value, weight  # noqa: E402  pylint: disable=wrong-import-position

LONG = {"num_candidates": 100000}
MiB = 1 << 20


@pytest.fixture(name="loaded")
def fixture_loaded(daemon, long_calib):
    daemon.model_id, daemon.long_id = daemon.model(), daemon.calibration(long_calib)
    return daemon


def greedy_model(elements):
    """Between its two layers it makes a tensor whose size it computes from the input's shape, so that no look at the file can tell."""
    nodes = [node("MatMul", ["x", "w1"], ["a"], "first"), node("Shape", ["x"], ["s"]), node("Mul", ["s", "k"], ["t"]),
             node("ConstantOfShape", ["t"], ["big"]), node("ReduceMax", ["big"], ["m"], keepdims=0), node("Add", ["a", "m"], ["b"]),
             node("MatMul", ["b", "w2"], ["y"], "second")]
    k = numpy.array([elements // 6, 1], numpy.int64)
    return model(nodes, [value("x", ("N", 6))], [value("y")],
                 [tensor("w1", weight(6, 5)), tensor("w2", weight(5, 4, seed=2)), tensor("k", k)])


@pytest.fixture(name="six")
def fixture_six(tmp_path):
    """Data of one batch for it."""
    path = tmp_path / "six.npz"
    numpy.savez(path, x=numpy.random.default_rng(1).normal(size=(8, 6)).astype("float32"))
    return path


# ---- what it may ----

def test_walls_of_a_running_engine(loaded):
    engine = pathlib.Path(f"/proc/{loaded.running(loaded.job(loaded.model_id, loaded.long_id, **LONG))}")

    def status(name):
        return re.search(rf"^{name}:\s*(\S+)", (engine / "status").read_text(), re.M).group(1)
    until(lambda: status("Seccomp") == "2", "the engine has closed itself in")
    assert status("NoNewPrivs") == "1"
    limits = {line[:26].strip(): line[26:].split()[0] for line in (engine / "limits").read_text().splitlines()[1:]}
    assert limits["Max core file size"] == "0"
    assert int(limits["Max file size"]) == 64 << 30
    assert int(limits["Max cpu time"]) >= 86400
    assert int(limits["Max open files"]) < 64
    assert SANITIZER or COUNTED or int(limits["Max address space"]) < 1 << 50
    threads = list((engine / "task").iterdir())
    assert threads and all("Seccomp:\t2" in (t / "status").read_text() for t in threads)
    assert os.listdir(engine / "cwd") == []


def calls_after_closing(trace):
    """The traced calls of engines after each closed itself in; strace's lines begin with the pid."""
    closed, threads, calls = set(), {}, []
    for line in trace.read_text(errors="replace").splitlines():
        m = re.match(r"(\d+) +(\w+)\((.*)", line)
        if not m:
            continue
        pid, call, rest = int(m[1]), m[2], m[3]
        process = threads.get(pid, pid)
        if call in ("clone", "clone3") and (born := re.search(r"= (\d+)$", line)):
            threads[int(born[1])] = process
        elif call == "seccomp" and line.endswith("= 0"):
            closed.add(process)
        elif process in closed:
            calls.append((call, rest))
    return closed, calls


# Everything that could reach a file, a socket or another process.
REACHES = ("open,openat,openat2,creat,socket,connect,execve,execveat,fork,vfork,ptrace,kill,unlink,unlinkat,rename,renameat,mkdir,mkdirat,"
           "link,linkat,symlink,symlinkat")


def behind_walls(trace):
    """Nothing of that did any engine behind its walls; returns how many there were."""
    closed, calls = calls_after_closing(trace)
    calls = [c for c in calls if c[0] not in ("clone", "clone3")]
    assert not [c for c in calls if " = -1 EPERM" not in c[1]], calls
    # All that anybody misses is a count of processors, which the C library then takes from elsewhere.
    assert not [c for c in calls if "/sys/devices/system/cpu/" not in c[1] and "/proc/stat" not in c[1]], calls
    return len(closed)


def end_traced(daemon):
    """Ends a daemon that strace started."""
    for pid in daemon.children():
        os.kill(pid, signal.SIGTERM)
    daemon.process.wait(20 * PATIENCE)
    daemon.process.stdout.close()
    daemon.process = None


@pytest.mark.seconds(120)
@pytest.mark.skipif(SANITIZER is not None or COUNTED or not shutil.which("strace"), reason="needs strace, and a program that is quick under it")
def test_a_search_needs_nothing_from_outside(tmp_path, reference):
    """Everything that could reach a file, a socket or another process, audited over a whole session with a spilling search."""
    trace = tmp_path / "trace"
    daemon = Daemon(tmp_path)
    daemon.prefix = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={REACHES},seccomp,clone,clone3"]
    daemon.start()
    job = daemon.job(daemon.model(), daemon.calibration(), max_memory_bytes=1)
    assert daemon.json(f"/v1/jobs/{job}?wait=60")["status"] == "succeeded"
    assert daemon.json(f"/v1/jobs/{job}/artifacts/report.json")["spilled_bytes"] > 0
    assert daemon.encodings(job) == reference()
    end_traced(daemon)
    assert behind_walls(trace) >= 3  # two inspections and a search


# ---- what it gets ----

def test_a_model_that_wants_too_much_memory(start, six):
    daemon = start("--max-job-memory-bytes", "256M", "--workers", "1")
    calibration = daemon.calibration(six)
    greedy = daemon.job(daemon.model(greedy_model(50 * MiB)), calibration)  # floats, times 8 samples: 1.6 GB
    j = daemon.wait(greedy)
    assert (j["status"], j["error"]["code"], j["attempt"]) == ("failed", "out-of-memory-budget", 1), j
    assert j["usage"]["peak_rss_bytes"] < (700 if SANITIZER else 450) * MiB, j["usage"]
    modest = daemon.job(daemon.model(greedy_model(MiB)), calibration)
    daemon.succeed(modest)


def test_a_job_that_takes_too_long(start, long_calib):
    daemon = start("--max-job-seconds", "2", "--workers", "1")
    job = daemon.job(daemon.model(), daemon.calibration(long_calib), **LONG)
    engine = daemon.running(job)
    begun = time.monotonic()
    j = daemon.wait(job)
    assert (j["status"], j["error"]["code"], j["attempt"]) == ("failed", "deadline-exceeded", 1), j
    assert time.monotonic() - begun < 3 * PATIENCE and not is_alive(engine)


@pytest.mark.seconds(90)
def test_a_hung_engine_is_noticed(loaded):
    """One that is stopped gives no sign of life; the job goes on in another."""
    job = loaded.job(loaded.model_id, loaded.long_id)
    engine = loaded.running(job)
    os.kill(engine, signal.SIGSTOP)
    begun = time.monotonic()
    until(lambda: not is_alive(engine), "the hung engine was ended", 20)
    assert time.monotonic() - begun > 14  # not before its time
    assert loaded.succeed(job)["attempt"] == 2
    assert "no sign of life" in loaded.stderr()
