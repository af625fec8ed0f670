"""Tickets: downloads without a key in the URL, once, within a minute."""
import json
import re

import pytest

from daemon import Daemon, in_threads
from test_keys import As, key

JSON = {"Content-Type": "application/json"}


def ask(daemon, url, **headers):
    return daemon.request("POST", "/v1/tickets", json.dumps({"url": url}), JSON | headers)


@pytest.fixture(name="keyed", scope="module")
def fixture_keyed(tmp_path_factory):
    """ann's private job, and keys of two people."""
    d = Daemon(tmp_path_factory.mktemp("tickets"))
    d.start()
    try:
        d.model_id, d.calibration_id = d.model(), d.calibration()
        job = d.submit(model=d.model_id, calibration=d.calibration_id, visibility="private").json()["id"]
        d.succeed(job)
        d.job_id, d.body = job, d.encodings(job)
        d.keys = {"root": key(d, "add", "root", "--scope", "admin"), "bob": key(d, "add", "bob", "--scope", "read"),
                  "blind": key(d, "add", "bob", "--scope", "submit")}
        yield d
    finally:
        d.close()


def bearer(daemon, name):
    return {"Authorization": f"Bearer {daemon.keys[name]}"}


def test_a_ticket_works_once(keyed):
    target = f"/v1/jobs/{keyed.job_id}/encodings?version=1.0.0"
    r = ask(keyed, target, **bearer(keyed, "root"))
    t = r.json()
    assert r.status == 201 and re.fullmatch("tkt_[0-9a-f]{32}", t["ticket"]) and t["url"] == f"{target}&ticket={t['ticket']}"
    head = keyed.request("HEAD", t["url"])
    assert (head.status, int(head.headers["Content-Length"])) == (200, len(keyed.body))
    assert keyed.get(t["url"]).body == keyed.body
    again = keyed.get(t["url"])
    assert (again.status, again.code) == (401, "unauthorized") and "invalid_token" in again.headers["WWW-Authenticate"]


def test_of_many_at_once_one_has_it(keyed):
    url = ask(keyed, f"/v1/jobs/{keyed.job_id}/artifacts/report.json", **bearer(keyed, "root")).json()["url"]
    got = in_threads(8, lambda _i: keyed.get(url).status)
    assert sorted(got) == [200] + [401] * 7


def test_a_ticket_is_for_one_target(keyed):
    t = ask(keyed, f"/v1/jobs/{keyed.job_id}/encodings?version=1.0.0", **bearer(keyed, "root")).json()["ticket"]
    for other in (f"/v1/jobs/{keyed.job_id}/encodings?version=2.0.0&", f"/v1/jobs/{keyed.job_id}/encodings?",
                  f"/v1/models/{keyed.model_id}/content?", f"/v1/jobs/{keyed.job_id}/artifacts/model.onnx?"):
        assert keyed.get(f"{other}ticket={t}").status == 401
    for wrong in ("", "tkt_", "tkt_" + "0" * 32, t[:-1], t + "0", t.upper()):
        assert keyed.get(f"/v1/jobs/{keyed.job_id}/encodings?version=1.0.0&ticket={wrong}").status == 401
    assert keyed.get(f"/v1/jobs/{keyed.job_id}?ticket={t}").code == "unknown-field"  # no download
    assert keyed.get(f"/v1/jobs/{keyed.job_id}/encodings?version=1.0.0&ticket={t}").body == keyed.body


def test_a_ticket_opens_what_its_owner_may_see(keyed):
    url = ask(keyed, f"/v1/jobs/{keyed.job_id}/encodings", **bearer(keyed, "bob")).json()["url"]
    assert keyed.get(url).code == "not-found"
    url = ask(keyed, f"/v1/models/{keyed.model_id}/content", **bearer(keyed, "bob")).json()["url"]
    r = As(keyed, keyed.keys["blind"])("GET", url)  # the ticket counts, not the key beside it
    assert r.status == 200
    assert ask(keyed, f"/v1/models/{keyed.model_id}/content", **bearer(keyed, "blind")).status == 403
    assert ask(keyed, f"/v1/models/{keyed.model_id}/content").status == 401


@pytest.mark.parametrize("body, code, pointer", [
    ({}, "bad-param", "/url"), ({"url": 1}, "bad-param", "/url"), ({"url": "http://localhost/"}, "bad-param", "/url"),
    ({"url": "/v1/jobs"}, "bad-param", "/url"), ({"url": "/v1/jobs/x/encodings?ticket=1"}, "bad-param", "/url"),
    ({"url": "/v1/jobs/x/encodings?nothing=1"}, "bad-param", "/url"), ({"url": "/none"}, "bad-param", "/url"),
    ({"url": "/v1/jobs/x/encodings", "seconds": 9}, "unknown-field", "/seconds")])
def test_wrong_requests(standing, body, code, pointer):
    r = standing.request("POST", "/v1/tickets", json.dumps(body), JSON)
    assert (r.status, r.code, r.pointers) == (422, code, [pointer])


def test_without_keys_and_over_a_restart(daemon):
    model = daemon.model()
    url = ask(daemon, f"/v1/models/{model}/content").json()["url"]
    assert daemon.get(url).status == 200 and daemon.get(url).status == 401
    url = ask(daemon, f"/v1/models/{model}/content").json()["url"]
    daemon.stop()
    daemon.start()
    assert daemon.get(url).status == 401
