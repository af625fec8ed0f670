"""Models whose weights lie in files of their own."""
import pytest

from daemon import SHARED, ZOO, in_threads

SMALL = ("external_data", ZOO / "external_data.onnx", ZOO / "external_data.data", ZOO / "external_data.npz")
FOLDER = SHARED / "models/digits_cnn"
DYNAMO = ("digits_cnn", FOLDER / "model_dynamo_extdata.onnx", FOLDER / "model_dynamo_extdata.onnx.data", FOLDER / "calib.npz")


@pytest.fixture(name="case", params=[SMALL, DYNAMO], ids=lambda c: c[0])
def fixture_case(request):
    if not all(path.exists() for path in request.param[1:]):
        pytest.skip("it is not at hand")
    return request.param


def test_incomplete_then_complete_then_a_job(daemon, reference, case):
    _, path, data, calib = case
    model = daemon.upload("models", path, status=[201])
    assert model["status"] == "incomplete" and model["digest"] is None
    assert model["missing_files"] == [data.name]
    assert [(f["name"], f["present"]) for f in model["files"]] == [(data.name, False)]
    calibration = daemon.calibration(calib)
    r = daemon.submit(model=model["id"], calibration=calibration)
    assert (r.status, r.code) == (409, "bad-state")
    assert daemon.json("/v1/jobs")["data"] == []

    r = daemon.request("PUT", f"/v1/models/{model['id']}/files/{data.name}", data)
    assert r.status == 201, r
    complete = r.json()
    assert complete["id"] == model["id"] and complete["status"] == "complete" and complete["missing_files"] == []
    assert complete["files"][0]["size"] == data.stat().st_size and complete["digest"] not in (None, model["sha256"])
    job = daemon.job(model["id"], calibration, num_batches=2)
    assert daemon.succeed(job)["model"]["sha256"] == complete["digest"]
    assert daemon.encodings(job) == reference(path, calib, num_batches=2)


def test_file_again_and_another_file(daemon):
    _, path, data, _ = SMALL
    model = daemon.model(path)
    target = f"/v1/models/{model}/files/{data.name}"
    assert daemon.request("PUT", target, data).status == 201
    again = daemon.request("PUT", target, data)
    assert again.status == 200 and again.json()["deduplicated"]
    with daemon.keeps_nothing():
        other = daemon.request("PUT", target, b"\1" * data.stat().st_size)
        assert (other.status, other.code) == (409, "bad-state")


@pytest.mark.parametrize("size", [0, 1, 2000])
def test_file_that_is_too_short(daemon, size):
    _, path, data, _ = SMALL
    model = daemon.model(path)
    with daemon.keeps_nothing():
        r = daemon.request("PUT", f"/v1/models/{model}/files/{data.name}", data.read_bytes()[:size])
        assert r.status == 422, r
    assert daemon.json(f"/v1/models/{model}")["status"] == "incomplete"


def test_incomplete_models_are_never_taken_for_each_other(daemon):
    _, path, data, _ = SMALL
    first, second = daemon.model(path), daemon.model(path)
    assert first != second
    body = bytearray(data.read_bytes())
    body[3] ^= 1  # of a float: small
    assert daemon.request("PUT", f"/v1/models/{first}/files/{data.name}", data).status == 201
    assert daemon.request("PUT", f"/v1/models/{second}/files/{data.name}", bytes(body)).status == 201
    digests = {daemon.json(f"/v1/models/{m}")["digest"] for m in (first, second)}
    assert len(digests) == 2
    assert daemon.json(f"/v1/models/{daemon.model(path)}")["status"] == "incomplete"


def test_file_survives_a_kill_and_goes_with_its_model(daemon):
    _, path, data, calib = SMALL
    model = daemon.model(path)
    assert daemon.request("PUT", f"/v1/models/{model}/files/{data.name}", data).status == 201
    daemon.kill()
    daemon.start()
    assert daemon.json(f"/v1/models/{model}")["status"] == "complete"
    daemon.succeed(daemon.job(model, daemon.calibration(calib)))
    assert daemon.request("DELETE", f"/v1/models/{model}").status == 204
    sizes = set(daemon.files().values())
    assert data.stat().st_size not in sizes and path.stat().st_size not in sizes


def test_last_file_twice_at_once(daemon):
    _, path, data, calib = SMALL
    model = daemon.model(path)
    replies = in_threads(6, lambda _: daemon.request("PUT", f"/v1/models/{model}/files/{data.name}", data))
    assert {r.status for r in replies} <= {200, 201, 409}, replies
    assert daemon.json(f"/v1/models/{model}")["status"] == "complete"
    daemon.succeed(daemon.job(model, daemon.calibration(calib)))


def two_files(daemon):
    """A model whose two tensors lie in a file each, of the same bytes."""
    _, path, data, _ = SMALL
    name = data.name.encode()
    other = name.replace(b"data.", b"dat2.")
    body = path.read_bytes()
    assert body.count(name) == 2 and len(other) == len(name)
    model = daemon.upload("models", body.replace(name, other, 1), status=[201])
    assert sorted(model["missing_files"]) == sorted([name.decode(), other.decode()])
    return [f"/v1/models/{model['id']}/files/{f}" for f in model["missing_files"]], model["id"]


def test_two_files_one_after_the_other(daemon, reference):
    _, path, data, calib = SMALL
    (first, second), model = two_files(daemon)
    r = daemon.request("PUT", first, data)
    assert r.status == 201 and r.json()["status"] == "incomplete" and r.json()["missing_files"] == [second.rpartition("/")[2]]
    assert daemon.request("PUT", first, data).json()["status"] == "incomplete"
    other = daemon.request("PUT", first, b"x")  # nothing is checked before all are there: the newest counts
    assert (other.status, other.json()["status"]) == (201, "incomplete")
    r = daemon.request("PUT", second, data)
    assert r.status == 422, r
    assert daemon.request("PUT", first, data).json()["status"] == "incomplete"
    assert daemon.request("PUT", second, data).json()["status"] == "complete"
    job = daemon.job(model, daemon.calibration(calib))
    daemon.succeed(job)
    assert daemon.encodings(job) == reference(path, calib)


def test_two_files_at_once(daemon):
    _, _, data, calib = SMALL
    for _ in range(5):
        targets, model = two_files(daemon)
        replies = in_threads(2, lambda i, targets=targets: daemon.request("PUT", targets[i], data))
        assert [r.status for r in replies] == [201, 201], replies
        assert daemon.json(f"/v1/models/{model}")["status"] == "complete"
    daemon.succeed(daemon.job(model, daemon.calibration(calib)))
