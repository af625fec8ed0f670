"""Deaths of the daemon and of its engines, orderly ends, cancels: acknowledged work is neither lost nor done wrong."""
import contextlib
import fcntl
import os
import pathlib
import random
import signal
import sqlite3
import threading
import time

import numpy
import pytest

from daemon import MODEL, PATIENCE, SANITIZER, SHARED, SLOW, ZOO, descriptors, in_threads, is_alive, until

LONG = {"num_candidates": 100000}  # with long_calib: many seconds


@pytest.fixture(name="loaded")
def fixture_loaded(daemon, long_calib):
    daemon.model_id, daemon.long_id = daemon.model(), daemon.calibration(long_calib)
    return daemon


def has_layers(daemon, job, n):
    return lambda: len(daemon.json(f"/v1/jobs/{job}/layers")["data"]) >= n


# ---- the daemon dies ----

@pytest.mark.parametrize("layers", [0, 1, 3, 5])
def test_killed_daemon_finishes_the_job_after_restart(loaded, reference, long_calib, layers):
    job = loaded.job(loaded.model_id, loaded.long_id)
    loaded.running(job)
    until(has_layers(loaded, job, layers), f"{layers} layers are done")
    loaded.kill()
    loaded.start()
    done = loaded.succeed(job)
    assert done["attempt"] == 2 or (done["attempt"] == 1 and layers >= 3)  # the rest may be faster than the kill
    assert loaded.encodings(job) == reference(MODEL, long_calib)
    assert loaded.encodings(job, "0.6.1") == reference(MODEL, long_calib, "0.6.1")
    assert [x["index"] for x in loaded.json(f"/v1/jobs/{job}/layers")["data"]] == list(range(6))


def report_of(daemon, job):
    """The report without what differs from run to run."""
    r = daemon.json(f"/v1/jobs/{job}/artifacts/report.json")
    for part in (r, *r["layers"]):
        part.pop("seconds"), part.pop("predicted_seconds")
    r.pop("spilled_bytes")
    return r


def outcome(daemon, job):
    files = {a["name"]: a["sha256"] for a in daemon.json(f"/v1/jobs/{job}/artifacts")["data"]}
    files.pop("report.json"), files.pop("report.html")
    layers = daemon.json(f"/v1/jobs/{job}/layers")["data"]
    return files, report_of(daemon, job), layers, [daemon.json(f"/v1/jobs/{job}/layers/{x['index']}/curve") for x in layers]


def without_seconds(layers):
    return [{k: v for k, v in x.items() if k != "ms"} for x in layers]


@pytest.mark.seconds(180)
@pytest.mark.parametrize("name", ["digits", "mnist_resnet"])
def test_killed_at_every_finished_layer(start, long_calib, tmp_path, name):
    """Daemon and engine die by turns, each time that one more layer is done. The job goes on, and comes out as if nothing had happened."""
    model, calib = MODEL, long_calib
    if name != "digits":
        model = SHARED / "models" / name / "model.onnx"
        if not model.exists():
            pytest.skip(f"no {name} in $SEQMSED_SHARED")
        data = numpy.load(model.with_name("calib.npz"))
        calib = tmp_path / "calib.npz"
        numpy.savez(calib, **{k: numpy.concatenate([data[k]] * (1 if SANITIZER else 4)) for k in data.files})
    daemon = start("--threads-per-job", "1")
    ids = daemon.model(model), daemon.calibration(calib)
    unbroken = daemon.job(*ids)
    total = daemon.succeed(unbroken)["progress"]["layers_total"]
    job, engines_killed, done = daemon.job(*ids), 0, 0
    while done < total:
        until(lambda: has_layers(daemon, job, done + 1)() or daemon.json(f"/v1/jobs/{job}")["status"] == "succeeded", f"layer {done} is done")
        done = len(daemon.json(f"/v1/jobs/{job}/layers")["data"])
        if done % 2 and engines_killed < 2 and daemon.children():
            os.kill(daemon.children()[0], signal.SIGKILL)
            engines_killed += 1
        else:
            daemon.kill()
            daemon.start("--threads-per-job", "1")
    finished = daemon.succeed(job)
    files, report, layers, curves = outcome(daemon, job)
    expected_files, expected_report, expected_layers, expected_curves = outcome(daemon, unbroken)
    assert files == expected_files and report == expected_report and curves == expected_curves
    assert without_seconds(layers) == without_seconds(expected_layers)
    with contextlib.closing(daemon.database()) as d:
        attempts = [a for (a,) in d.execute("SELECT attempt FROM job_layers WHERE job_id = ?", (job,))]
        assert d.execute("SELECT count(*) FROM job_layers WHERE frame IS NOT NULL").fetchone() == (0,)  # they served their purpose
    print(f"{name}: {finished['attempt']} attempts, layers found by {sorted(set(attempts))}")
    assert finished["attempt"] > total // 3 and len(set(attempts)) > total // 3  # nothing was searched twice


def test_layers_of_another_machine_are_searched_again(loaded, reference, long_calib):
    """As after an update of the program between two attempts."""
    job = loaded.job(loaded.model_id, loaded.long_id)
    until(has_layers(loaded, job, 2), "two layers are done")
    loaded.kill()
    with contextlib.closing(sqlite3.connect(loaded.state / "seqmsed.db")) as d, d:
        n = d.execute("UPDATE job_layers SET frame = replace(frame, '\"machine\": \"build ', '\"machine\": \"build 00')").rowcount
    assert n >= 2
    loaded.start()
    loaded.succeed(job)
    assert loaded.encodings(job) == reference(MODEL, long_calib)
    with contextlib.closing(loaded.database()) as d:
        assert d.execute("SELECT DISTINCT attempt FROM job_layers WHERE job_id = ?", (job,)).fetchall() == [(2,)]


def test_killed_at_once_and_again(loaded, reference, long_calib):
    job = loaded.job(loaded.model_id, loaded.long_id)
    for pause in (0, 0.05, 0.2, 0.4):
        time.sleep(pause)
        loaded.kill()
        loaded.start()
    done = loaded.succeed(job)
    assert 1 <= done["attempt"] <= 5 and done["error"] is None
    assert loaded.encodings(job) == reference(MODEL, long_calib)


def test_deaths_of_the_daemon_do_not_count_as_the_jobs(loaded):
    job = loaded.job(loaded.model_id, loaded.long_id)
    for _ in range(4):
        loaded.running(job)
        loaded.kill()
        loaded.start()
    done = loaded.succeed(job)
    assert done["attempt"] == 5


def test_killed_daemon_keeps_the_queue(start, long_calib, reference):
    daemon = start("--workers", "1")
    model, slow, quick = daemon.model(), daemon.calibration(long_calib), daemon.calibration()
    jobs = [daemon.job(model, slow)] + [daemon.job(model, quick, num_candidates=10 + i) for i in range(3)]
    daemon.running(jobs[0])
    assert [daemon.json(f"/v1/jobs/{j}")["queue_position"] for j in jobs] == [None, 1, 2, 3]
    daemon.kill()
    daemon.start()
    ended = [daemon.succeed(j)["finished_at"] for j in jobs]
    assert ended == sorted(ended)
    for i, j in enumerate(jobs[1:]):
        assert daemon.encodings(j) == reference(num_candidates=10 + i)


def test_cancel_survives_the_daemon(loaded):
    job = loaded.job(loaded.model_id, loaded.long_id, **LONG)
    loaded.running(job)
    assert loaded.request("POST", f"/v1/jobs/{job}/cancel").status == 202
    loaded.kill()
    loaded.start()
    assert loaded.json(f"/v1/jobs/{job}")["status"] == "canceled"
    assert loaded.children() == []


# ---- an engine dies ----

def test_killed_engine_is_tried_again(loaded, reference, long_calib):
    job = loaded.job(loaded.model_id, loaded.long_id)
    os.kill(loaded.running(job), signal.SIGKILL)
    done = loaded.succeed(job)
    assert done["attempt"] == 2
    assert loaded.encodings(job) == reference(MODEL, long_calib)
    assert "engine died" in loaded.stderr()


def test_stopped_engine_does_not_stop_the_daemon(loaded):
    job = loaded.job(loaded.model_id, loaded.long_id, **LONG)
    engine = loaded.running(job)
    os.kill(engine, signal.SIGSTOP)
    assert loaded.json("/livez")["status"] == "ok"
    loaded.request("POST", f"/v1/jobs/{job}/cancel")
    until(lambda: not is_alive(engine), "a stopped engine can be ended", 2)


def test_three_deaths_of_the_engine_fail_the_job(loaded):
    job = loaded.job(loaded.model_id, loaded.long_id, **LONG)
    last = None
    for _ in range(3):
        last = until(lambda: next((p for p in loaded.children() if p != last), None), "the next engine runs")
        os.kill(last, signal.SIGKILL)
    failed = loaded.wait(job)
    assert (failed["status"], failed["attempt"], failed["result"]) == ("failed", 3, None)
    assert failed["error"]["code"] == "worker-crashed" and failed["error"]["detail"] and failed["error"]["title"]
    for what in ("encodings", "artifacts/report.json"):
        r = loaded.get(f"/v1/jobs/{job}/{what}")
        assert (r.status, r.code) == (409, "bad-state")
    # The daemon lives, and works on.
    loaded.succeed(loaded.job(loaded.model_id, loaded.calibration()))


def test_killed_inspection_is_made_again(daemon):
    """Who kills it says nothing about the file."""
    for model in sorted(ZOO.glob("*.onnx"))[:40]:
        answers = []
        asking = threading.Thread(target=lambda model=model, answers=answers: answers.append(daemon.request("PUT", "/v1/models", model)))
        asking.start()
        while asking.is_alive():
            for pid in daemon.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                asking.join()
        asking.join()
        assert answers[0].status == 201, answers[0]
        if "an inspection failed" in daemon.stderr():
            return
    raise AssertionError("none was killed")


def test_engine_holds_only_what_it_needs(loaded):
    pid = loaded.running(loaded.job(loaded.model_id, loaded.long_id, **LONG))
    engine = pathlib.Path(f"/proc/{pid}")
    until(lambda: (engine / "cmdline").read_bytes().split(b"\0")[1:2] == [b"engine"], "the engine is there")
    held = descriptors(pid)
    assert not [x for x in held if x.startswith("socket:") or "seqmsed.db" in x or x.endswith("/lock")], held
    assert [x for x in held if "/blobs/" in x] and os.readlink(engine / "cwd") == str(loaded.state / "empty")
    assert len((engine / "environ").read_bytes().split(b"\0")) < 16


# ---- orderly ends ----

def test_sigterm_during_a_job_loses_nothing(loaded, reference, long_calib):
    job = loaded.job(loaded.model_id, loaded.long_id)
    engine = loaded.running(job)
    code, seconds = loaded.stop()
    assert code == 0 and seconds < 10 * PATIENCE
    assert not is_alive(engine)
    assert loaded.check_consistent() == 0
    loaded.start()
    done = loaded.succeed(job)
    assert done["attempt"] == 2
    assert loaded.encodings(job) == reference(MODEL, long_calib)


def test_sigterm_answers_those_who_wait(loaded):
    job = loaded.job(loaded.model_id, loaded.long_id, **LONG)
    loaded.running(job)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(loaded.get(f"/v1/jobs/{job}?wait=60")))
    waiting.start()
    time.sleep(0.3)
    code, seconds = loaded.stop()
    waiting.join()
    assert code == 0 and seconds < 10 * PATIENCE
    assert answers[0].status in (200, 503)
    loaded.start()
    loaded.request("POST", f"/v1/jobs/{job}/cancel")


def test_sigterm_with_a_silent_client(daemon):
    """An upload that does not come on must not hold the end up."""
    c = daemon.connection()
    c.putrequest("PUT", "/v1/models")
    c.putheader("Content-Length", "1000000")
    c.endheaders()
    c.send(b"x" * 1000)
    time.sleep(0.2)
    code, seconds = daemon.stop()
    c.close()
    assert code == 0 and seconds < 10 * PATIENCE
    assert daemon.check_consistent() == 0


def test_second_daemon_is_refused(daemon):
    second = type(daemon)(daemon.state.parent)
    with pytest.raises(AssertionError, match="another seqmsed"):
        second.start()
    daemon.log.write_text("")  # the second one's word is no log line
    assert daemon.json("/livez")["status"] == "ok"


def test_a_folder_that_is_let_go_of_soon(daemon):
    """A child that a killed daemon has just begun to start still holds it."""
    daemon.stop()
    with open(daemon.state / "lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        later = threading.Timer(0.5, fcntl.flock, (held, fcntl.LOCK_UN))
        later.start()
        daemon.start()
        later.join()
    assert daemon.json("/livez")["status"] == "ok"


# ---- cancels ----

def test_cancel_of_a_running_job(loaded):
    job = loaded.job(loaded.model_id, loaded.long_id, **LONG)
    engine = loaded.running(job)
    start = time.monotonic()
    r = loaded.request("POST", f"/v1/jobs/{job}/cancel")
    assert r.status == 202 and r.json()["status"] in ("canceling", "canceled")
    until(lambda: not is_alive(engine), "the engine is gone", 1)
    canceled = loaded.wait(job)
    assert time.monotonic() - start < 2 * PATIENCE
    assert (canceled["status"], canceled["result"], canceled["error"]) == ("canceled", None, None)
    assert loaded.request("POST", f"/v1/jobs/{job}/cancel").status == 202  # once more changes nothing
    r = loaded.get(f"/v1/jobs/{job}/encodings")
    assert (r.status, r.code) == (409, "bad-state")
    assert loaded.json(f"/v1/jobs/{job}/artifacts")["data"] == []


def test_cancel_of_a_queued_job(start, long_calib):
    daemon = start("--workers", "1")
    model, slow = daemon.model(), daemon.calibration(long_calib)
    first, second, third = (daemon.job(model, slow, **LONG) for _ in range(3))
    daemon.running(first)
    r = daemon.request("POST", f"/v1/jobs/{second}/cancel")
    assert r.status == 202 and r.json()["status"] == "canceled" and r.json()["attempt"] == 0
    assert daemon.json(f"/v1/jobs/{third}")["queue_position"] == 1
    for job in (first, third):
        assert daemon.request("POST", f"/v1/jobs/{job}/cancel").status == 202
        assert daemon.wait(job)["status"] == "canceled"


def test_cancel_of_a_finished_job_is_refused(standing):
    r = standing.request("POST", f"/v1/jobs/{standing.job_id}/cancel")
    assert (r.status, r.code) == (409, "bad-state")


def test_no_result_after_an_acknowledged_cancel(start):
    """Cancels at every moment of a short job, also that of its end."""
    daemon = start("--workers", "2")
    model, calibration = daemon.model(), daemon.calibration()
    pauses = random.Random(7)
    moments = [pauses.uniform(0, 0.3 * SLOW) for _ in range(40)]

    def one(worker):
        seen = []
        for pause in moments[worker::2]:
            job = daemon.job(model, calibration)
            time.sleep(pause)
            r = daemon.request("POST", f"/v1/jobs/{job}/cancel")
            assert r.status in (202, 409), r
            last = daemon.wait(job)
            assert last["status"] == ("canceled" if r.status == 202 else "succeeded"), (r, last)
            assert bool(last["result"]) == (last["status"] == "succeeded")
            seen.append(last["status"])
        return seen
    seen = sum(in_threads(2, one), [])
    print(f"{seen.count('canceled')} canceled, {seen.count('succeeded')} came too late")
    assert daemon.stop()[0] == 0
    assert daemon.check_consistent() == 0
