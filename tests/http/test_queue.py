"""The order of the queue, as the API tells it and as workers follow it, against a plain count over the table."""
import contextlib
import random
import sqlite3

import pytest

from daemon import until
from test_keys import As, key

OWNERS = ("", "ann", "bob", "cem", "dot", "eve")
MANY = 200


def serve_all(waiting, served):
    """Ids in the order in which they are served, by serving them: the owner who waits for longest has his first job taken, again and again.
    waiting: {owner: [(priority, id)]}; served: {owner: number of the last time}."""
    waiting = {owner: sorted(jobs, key=lambda j: (-j[0], j[1])) for owner, jobs in waiting.items()}
    served, order = dict(served), []
    while any(waiting.values()):
        owner = min((o for o, jobs in waiting.items() if jobs), key=lambda o: (served.get(o, 0), o))
        order.append(waiting[owner].pop(0)[1])
        served[owner] = max(served.values(), default=0) + 1
    return order


def expected(daemon):
    waiting = {}
    with contextlib.closing(daemon.database()) as d:
        for owner, priority, job in d.execute("SELECT owner, priority, id FROM jobs WHERE status = 'queued'"):
            waiting.setdefault(owner, []).append((priority, job))
        return serve_all(waiting, dict(d.execute("SELECT owner, served FROM turns")))


def fill(daemon, rng):
    """Waiting jobs of all owners, as if they had been submitted, in the file of a daemon that does not run. Their model is gone."""
    columns = ("id", "name", "labels", "status", "model_id", "model_sha256", "calibration_id", "calibration_sha256", "samples", "samples_used",
               "params", "created_at", "owner", "visibility", "priority")
    with contextlib.closing(sqlite3.connect(daemon.state / "seqmsed.db")) as d, d:
        ids = [f"job_{rng.getrandbits(128):032x}" for _ in range(MANY)]
        weights = [rng.choice((1, 1, 5, 20)) for _ in OWNERS]
        d.executemany(f"INSERT INTO jobs({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", [
            (job, "", "{}", "queued", "mdl_gone", "", "cal_gone", "", 1, 1, "{}", 1, rng.choices(OWNERS, weights)[0],
             rng.choice(("team", "private")), rng.choice((-3, 0, 0, 0, 0, 7))) for job in ids])
        d.execute("DELETE FROM turns")
        d.executemany("INSERT INTO turns VALUES (?, ?)", [(o, rng.randrange(1, 4)) for o in OWNERS[1:] if rng.random() < 0.8])


def owner_of(daemon, job):
    with contextlib.closing(daemon.database()) as d:
        return d.execute("SELECT owner, visibility FROM jobs WHERE id = ?", (job,)).fetchone()


def compare(daemon, ask, owner, rng):
    """What the owner (None: who sees all) is told, by every way of asking."""
    order = expected(daemon)
    sees = [job for job in order if owner is None or owner_of(daemon, job)[0] == owner or owner_of(daemon, job)[1] == "team"]
    place = {job: i + 1 for i, job in enumerate(order)}
    listed, after = [], ""
    while after is not None:
        page = ask("GET", f"/v1/jobs?limit={rng.choice((7, 50, 200))}&status=queued{after}").json()
        listed += page["data"]
        after = f"&after={page['next']}" if page["has_more"] else None
    assert [j["id"] for j in listed] == sorted(sees, reverse=True)
    assert {j["id"]: j["queue_position"] for j in listed} == {job: place[job] for job in sees}
    for job in rng.sample(sees, 10):
        assert ask("GET", f"/v1/jobs/{job}").json()["queue_position"] == place[job]
    queue = ask("GET", "/v1/queue").json()
    told = [(j["id"], j["position"]) for j in queue["jobs"] if j["status"] == "queued"]
    assert queue["queued"] == len(order) and told == [(job, place[job]) for job in sees[:100 - queue["running"]]]


@pytest.mark.seconds(120)
@pytest.mark.parametrize("seed", [1, 2])
def test_places_and_claims_follow_the_order(start, long_calib, seed):
    rng = random.Random(seed)
    daemon = start("--workers", "1")
    blocker = daemon.job(daemon.model(), daemon.calibration(long_calib), num_candidates=100000)
    daemon.running(blocker)
    daemon.stop()
    fill(daemon, rng)
    with contextlib.closing(sqlite3.connect(daemon.state / "seqmsed.db")) as d, d:
        d.execute("UPDATE jobs SET priority = 1000 WHERE id = ?", (blocker,))
    daemon.start()
    daemon.running(blocker)  # the first turn is that of owner "", who was never served and sorts first
    asks = {owner: As(daemon, key(daemon, "add", owner)) for owner in OWNERS[1:]}
    asks[None] = As(daemon, key(daemon, "add", "root", "--scope", "admin,read"))
    for owner, ask in asks.items():
        compare(daemon, ask, owner, rng)
    for job in rng.sample(expected(daemon), 20):
        change = rng.choice(({"priority": 9}, {"priority": -9}, None))
        r = asks[None]("PATCH", f"/v1/jobs/{job}", change) if change else asks[None]("POST", f"/v1/jobs/{job}/cancel")
        assert r.status in (200, 202), r
    compare(daemon, asks[None], None, rng)
    compare(daemon, asks["bob"], "bob", rng)
    order = expected(daemon)
    assert asks[None]("POST", f"/v1/jobs/{blocker}/cancel").status == 202
    until(lambda: asks[None]("GET", "/v1/queue").json()["queued"] == 0, "all of them were tried")
    with contextlib.closing(daemon.database()) as d:
        turns = [dict(d.execute("SELECT id, started_at FROM jobs"))[job] for job in order]
    assert turns == sorted(turns)
