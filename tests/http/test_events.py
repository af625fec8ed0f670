"""Live events: a job followed to its end, over broken connections, by many at once."""
import json
import os
import signal
import socket
import threading
import time

import pytest

from daemon import PATIENCE, in_threads, until

STREAM = {"Accept": "text/event-stream"}
LONG = {"num_candidates": 100000}


class Stream:
    """What an EventSource does: reads events, remembers the last id."""

    def __init__(self, daemon, job, **headers):
        self.connection = daemon.connection(30)
        self.connection.request("GET", f"/v1/jobs/{job}/events", headers=STREAM | {k.replace("_", "-"): v for k, v in headers.items()})
        self.reply = self.connection.getresponse()
        assert self.reply.status == 200 and self.reply.headers["Content-Type"] == "text/event-stream", self.reply.status

    def __iter__(self):
        event = {}
        for line in self.reply:
            line = line.decode().rstrip("\n")
            if not line and event:
                yield event
                event = {}
            elif line.startswith(":"):
                yield {"comment": line[1:].strip()}
            elif line:
                name, _, value = line.partition(": ")
                event[name] = value

    def close(self):
        self.connection.close()


def numbered(events):
    return [(e["id"], e["event"], json.loads(e["data"])) for e in events if "id" in e]


def listed(daemon, job):
    return [(str(e["id"]), e["event"], e["data"]) for e in daemon.json(f"/v1/jobs/{job}/events?limit=1000")["data"]]


def test_a_finished_job_is_told_and_the_stream_ends(standing):
    assert numbered(Stream(standing, standing.job_id)) == listed(standing, standing.job_id)


def test_a_job_is_followed_to_its_end(daemon, long_calib):
    job = daemon.job(daemon.model(), daemon.calibration(long_calib))
    events = list(Stream(daemon, job))
    assert numbered(events) == listed(daemon, job)
    assert [json.loads(e["data"])["status"] for e in events if e["event"] == "status"] == ["queued", "running", "succeeded"]
    progress = [json.loads(e["data"])["fraction"] for e in events if e["event"] == "progress"]
    assert progress and progress == sorted(progress)
    layers = [json.loads(e["data"])["layer"] for e in events if e["event"] == "layer"]
    assert layers == list(range(6))


def test_who_comes_back_reads_on(daemon, long_calib):
    job = daemon.job(daemon.model(), daemon.calibration(long_calib))
    seen, last = [], None
    while True:
        stream = Stream(daemon, job, **({"Last_Event_ID": last} if last else {}))
        done = False
        for e in stream:
            if "id" in e:
                seen.append(e)
                last = e["id"]
                done = json.loads(e["data"]).get("status") == "succeeded"
                break  # and the connection goes
        stream.close()
        if done:
            break
    assert numbered(seen) == listed(daemon, job)
    again = daemon.get(f"/v1/jobs/{job}/events", Accept="text/event-stream", Last_Event_ID=last)
    assert (again.status, again.body) == (204, b"")


def test_a_stream_survives_a_restart(daemon, long_calib):
    job = daemon.job(daemon.model(), daemon.calibration(long_calib))
    first = Stream(daemon, job)
    seen = [next(iter(first))]
    daemon.kill()
    first.close()
    daemon.start()
    seen += list(Stream(daemon, job, Last_Event_ID=seen[-1]["id"]))
    assert numbered(seen) == listed(daemon, job)


def test_unknown_jobs_and_json(standing):
    assert standing.get("/v1/jobs/job_1/events", Accept="text/event-stream").status == 404
    assert "data" in standing.get(f"/v1/jobs/{standing.job_id}/events", Accept="application/json").json()


@pytest.mark.seconds(120)
def test_silence_is_broken(start, long_calib):
    daemon = start("--workers", "1")
    model = daemon.model()
    daemon.running(daemon.job(model, daemon.calibration(long_calib), **LONG))
    waiting = daemon.job(model, daemon.calibration())
    begin, stream = time.monotonic(), Stream(daemon, waiting)
    events = iter(stream)
    assert next(events)["event"] == "status" and next(events) == {"comment": "still here"}
    assert 14 < time.monotonic() - begin < 20 * PATIENCE
    stream.close()


def test_many_follow_one_job_and_some_leave(start, long_calib):
    daemon = start("--max-connections", "400")
    daemon.json("/livez")
    before = daemon.handles()
    job = daemon.job(daemon.model(), daemon.calibration(long_calib))

    def follow(i):
        stream = Stream(daemon, job)
        if i % 4 == 0:  # rudely
            next(iter(stream))
            stream.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            stream.close()
            return None
        return numbered(stream)
    told = [t for t in in_threads(100, follow) if t]
    assert all(t == listed(daemon, job) for t in told) and len(told) == 75
    until(lambda: daemon.handles()[1] == before[1] and daemon.handles()[0] <= before[0] + 8, "connections are gone", 20)


def test_sigterm_ends_streams(daemon, long_calib):
    job = daemon.job(daemon.model(), daemon.calibration(long_calib), **LONG)
    daemon.running(job)
    stream, ended = Stream(daemon, job), threading.Event()

    def read():
        try:
            list(stream)
        finally:
            ended.set()
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    code, seconds = daemon.stop()
    assert code == 0 and seconds < 5 * PATIENCE and ended.wait(60)


# ---- the log ----

def log(daemon, job, **query):
    return daemon.json(f"/v1/jobs/{job}/logs?" + "&".join(f"{k}={v}" for k, v in ({"limit": 1000} | query).items()))["data"]


def test_log_of_a_job(standing):
    lines = log(standing, standing.job_id)
    assert [x["id"] for x in lines] == list(range(1, len(lines) + 1)) and {x["level"] for x in lines} == {"info"}
    assert [x["attempt"] for x in lines] == [0] + [1] * (len(lines) - 1)
    texts = [x["text"] for x in lines]
    assert texts[:2] == ["queued", "running"] and texts[-1] == "succeeded" and "engine" in texts[2]
    layers = standing.json(f"/v1/jobs/{standing.job_id}/layers")["data"]
    assert [t.split(":")[0] for t in texts if t.startswith("layer ")] == [f"layer {x['index']}, {x['node']}" for x in layers]
    page = standing.json(f"/v1/jobs/{standing.job_id}/logs?limit=3")
    assert (page["data"], page["has_more"], page["next"]) == (lines[:3], True, 3)
    rest = standing.json(f"/v1/jobs/{standing.job_id}/logs?after=3")
    assert (rest["data"], rest["has_more"], rest["next"]) == (lines[3:], False, None)
    assert standing.get("/v1/jobs/job_1/logs").code == "not-found"


def test_log_of_warnings_and_failures(daemon):
    model, calibration = daemon.model(), daemon.calibration()
    few = daemon.job(model, calibration, num_batches=1, batch_size=1)
    daemon.succeed(few)
    warned = daemon.json(f"/v1/jobs/{few}")["warnings"]
    assert warned and [x["text"] for x in log(daemon, few) if x["level"] == "warning"] == [
        f"{w['layer'] + ': ' if w['layer'] else ''}{w['code']}: {w['detail']}" for w in warned]
    job = daemon.job(model, calibration, **LONG)
    for attempt in range(3):
        until(lambda: daemon.json(f"/v1/jobs/{job}")["attempt"] == attempt + 1, "the next attempt")
        os.kill(daemon.running(job), signal.SIGKILL)
    assert daemon.wait(job)["error"]["code"] == "worker-crashed"
    lines = log(daemon, job)
    died = [x for x in lines if x["level"] == "warning" and "signal 9" in x["text"]]
    assert [x["attempt"] for x in died] == [1, 2, 3]
    assert [x["text"].split(":")[0] for x in lines if x["level"] == "error"] == ["worker-crashed"]
    assert daemon.request("DELETE", f"/v1/jobs/{job}").status == 204
    assert daemon.rows()["logs"] == len(log(daemon, few))
