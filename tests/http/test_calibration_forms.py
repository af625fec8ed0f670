"""Calibration data that is no .npz, through the daemon: what is accepted, what the answers say, and that the results are those of the .npz."""
import subprocess
import sys
import urllib.parse

import numpy

from daemon import CALIB, DIGITS, SEQMSED, TOP, quantize

sys.path.append(str(TOP / "tests/cli"))
import data_forms  # noqa: E402  pylint: disable=wrong-import-position,wrong-import-order

LINE = data_forms.LINE
QUOTED = urllib.parse.quote(LINE)


def test_every_form_gives_the_npz_s_encodings(daemon, tmp_path):
    want = quantize(tmp_path / "npz", DIGITS / "model.onnx", CALIB, num_batches=1)
    model = daemon.model()
    for name, content, flags in data_forms.forms(data_forms.images()):
        params = {"preprocess": LINE} if flags else {}
        query = f"?model={model}" + (f"&preprocess={QUOTED}" if flags else "")
        (tmp_path / name).write_bytes(content)
        data = daemon.upload("calibrations", tmp_path / name, query)
        assert data["samples"] == 256, data
        job = daemon.job(model, data["id"], num_batches=1, **params)
        daemon.succeed(job)
        assert daemon.encodings(job) == want, name
        if flags:
            assert data["arrays"] == [{"name": "images", "type": "image", "shape": [256]}]
            shown = daemon.json(f"/v1/jobs/{job}")["params"]
            assert shown["preprocess"] == LINE


def test_images_are_listed_without_a_line_and_refused_with_a_model(daemon, tmp_path):
    model = daemon.model()
    (tmp_path / "i.zip").write_bytes(data_forms.zipped(data_forms.image_files(data_forms.images()[:3])))
    r = daemon.request("PUT", f"/v1/calibrations?model={model}", (tmp_path / "i.zip").read_bytes())
    assert (r.status, r.code) == (422, "calibration-mismatch") and "preprocess" in r.json()["detail"], r
    data = daemon.upload("calibrations", tmp_path / "i.zip")
    assert data["arrays"] == [{"name": "images", "type": "image", "shape": [3]}] and data["samples"] == 3
    r = daemon.submit(model=model, calibration=data["id"])
    assert (r.status, r.code) == (422, "calibration-mismatch") and "preprocess" in r.json()["detail"], r
    r = daemon.submit(model=model, calibration=data["id"], params={"preprocess": "colour=gray"})
    assert (r.status, r.code) == (422, "bad-param") and r.pointers == ["/params/preprocess"], r
    assert "colour" in r.json()["detail"]
    r = daemon.request("PUT", f"/v1/calibrations?model={model}&preprocess=colour%3Dgray", (tmp_path / "i.zip").read_bytes())
    assert (r.status, r.code) == (422, "bad-param") and r.pointers == ["?preprocess"], r


def test_a_damaged_image_is_refused_at_the_upload(daemon, tmp_path):
    files = data_forms.image_files(data_forms.images()[:3])
    files[1] = (files[1][0], b"\x89PNG\r\n\x1a\n" + bytes(30))
    r = daemon.request("PUT", "/v1/calibrations", data_forms.zipped(files))
    assert (r.status, r.code) == (422, "calibration-mismatch") and "0001.png" in r.json()["detail"], r


def test_a_job_may_say_how_arrays_feed_the_model(daemon, tmp_path):
    """The setting `inputs`, where names and layouts differ: the fit is checked with it."""
    x = data_forms.images()
    numpy.savez(tmp_path / "other.npz", photos=numpy.ascontiguousarray(x.transpose(0, 2, 3, 1)), more=numpy.zeros((len(x), 1), "float32"))
    inputs = {"image": {"array": "photos", "transpose": [0, 3, 1, 2]}}
    job = daemon.job(daemon.model(), daemon.calibration(tmp_path / "other.npz"), inputs=inputs, num_batches=1)
    daemon.succeed(job)
    assert daemon.encodings(job) == quantize(tmp_path / "npz", DIGITS / "model.onnx", CALIB, num_batches=1)


def test_images_calibrate_and_arrays_evaluate(daemon, tmp_path):
    (tmp_path / "i.zip").write_bytes(data_forms.zipped(data_forms.image_files(data_forms.images()[:20])))
    photos, labelled = daemon.upload("calibrations", tmp_path / "i.zip")["id"], daemon.upload("calibrations", DIGITS / "eval.npz")["id"]
    job = daemon.job(daemon.model(), photos, preprocess=LINE, evaluate={"calibration": labelled})
    daemon.succeed(job)
    rows = daemon.json(f"/v1/jobs/{job}/artifacts/report.json")["accuracy"]
    assert rows[0]["samples"] == 597 and rows[0]["accuracy"] > 0.95
    job = daemon.job(daemon.model(), photos, preprocess=LINE, evaluate={"calibration": photos})
    daemon.succeed(job)
    rows = daemon.json(f"/v1/jobs/{job}/artifacts/report.json")["accuracy"]
    assert rows[0]["samples"] == 20 and rows[4]["outputs"][0]["sqnr_db"] > 5


def test_submit_sends_the_line(daemon, tmp_path):
    (tmp_path / "i.zip").write_bytes(data_forms.zipped(data_forms.image_files(data_forms.images())))
    argv = [SEQMSED, "submit", str(DIGITS / "model.onnx"), str(tmp_path / "i.zip"), "--preprocess", LINE, "--num-batches", "1", "--server",
            daemon.url, "-o", str(tmp_path / "out")]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/model.encodings").read_bytes() == quantize(tmp_path / "npz", DIGITS / "model.onnx", CALIB, num_batches=1)
    argv[3] = str(tmp_path)
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "zip -r" in done.stderr, done.stderr
