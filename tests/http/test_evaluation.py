"""Jobs that are evaluated on data of their own."""
import json

from daemon import CALIB, DIGITS, MODEL, quantize


def labelled(daemon):
    return daemon.upload("calibrations", DIGITS / "eval.npz")["id"]


def test_the_report_has_an_accuracy_table(daemon):
    job = daemon.job(daemon.model(), daemon.calibration(), evaluate={"calibration": labelled(daemon)})
    daemon.succeed(job)
    rows = daemon.json(f"/v1/jobs/{job}/artifacts/report.json")["accuracy"]
    assert [(r["weights"], r["activations"]) for r in rows][::4] == [("fp32", False), ("searched", True)]
    assert rows[0]["accuracy"] > 0.95 and rows[4]["accuracy"] > 0.9


def test_every_file_is_the_command_lines(daemon, tmp_path):
    job = daemon.job(daemon.model(), daemon.calibration())
    daemon.succeed(job)
    names = {a["name"] for a in daemon.json(f"/v1/jobs/{job}/artifacts")["data"]}
    assert names == {"model_0_6_1.encodings", "model_1_0_0.encodings", "model_2_0_0.encodings", "model_2_1_0.encodings", "model.onnx", "model_qdq.onnx",
                     "model_qdq_prequantized.onnx", "report.json", "report.html"}
    quantize(tmp_path / "cli", MODEL, CALIB)
    for name in ("model.onnx", "model_qdq.onnx", "model_qdq_prequantized.onnx"):
        assert daemon.get(f"/v1/jobs/{job}/artifacts/{name}").body == (tmp_path / "cli" / name).read_bytes()


def test_data_that_cannot_be_used_are_refused_with_a_pointer(daemon, tmp_path):
    import numpy
    numpy.savez(tmp_path / "bad.npz", other=numpy.zeros((3, 2), "float32"), more=numpy.zeros((3, 2), "float32"))
    bad = daemon.upload("calibrations", tmp_path / "bad.npz")["id"]
    model, calibration = daemon.model(), daemon.calibration()
    for evaluate, code, pointer in (({"calibration": "cal_none"}, "bad-param", "/params/evaluate/calibration"), ({}, "bad-param", "/params/evaluate/calibration"),
                                    ({"calibration": bad}, "calibration-mismatch", None), ({"wrong": 1}, "unknown-field", "/params/evaluate/wrong")):
        r = daemon.submit(model=model, calibration=calibration, params={"evaluate": evaluate})
        assert r.status == 422 and r.code == code, r
        assert pointer is None or pointer in r.pointers, r.json()


def test_data_that_a_job_needs_are_not_deleted(daemon, long_calib):
    data = labelled(daemon)
    job = daemon.job(daemon.model(), daemon.calibration(long_calib), evaluate={"calibration": data})
    assert daemon.request("DELETE", f"/v1/calibrations/{data}").code == "in-use"
    daemon.request("POST", f"/v1/jobs/{job}/cancel")
    daemon.wait(job)
    assert daemon.request("DELETE", f"/v1/calibrations/{data}").status == 204
