"""A whole session by curl, as the documents show it, and results that are those of `seqmsed quantize`."""
import json
import os
import re
import shutil
import subprocess

import pytest

from daemon import CALIB, MODEL, PATIENCE, SANITIZER, SEQMSED, SHARED, TOP, ZOO, Daemon

# Lines as a user types them; an id that ends in … stands for the last one of its kind.
SESSION = """\
curl -T model.onnx   $U/v1/models
curl -T calib.npz    "$U/v1/calibrations?model=mdl_…"
curl --json '{"model":"mdl_…","calibration":"cal_…","params":{"weight_bits":4}}' $U/v1/jobs
curl "$U/v1/jobs/job_…?wait=60"
curl -OJ "$U/v1/jobs/job_…/encodings?version=1.0.0"
"""
MODELS = {  # enough of each to run every kind of layer, in a few seconds
    "digits_cnn": {"num_batches": 2}, "mnist_resnet": {"num_batches": 1}, "ppocr_cls": {"num_batches": 1},
    "doc_orientation": {"num_batches": 1, "batch_size": 8}, "efficientnet_lite0": {"num_batches": 1, "batch_size": 2},
    "minilm_l3": {"num_batches": 1, "batch_size": 2}, "magika": {"num_batches": 1, "batch_size": 8}, "basic_pitch": {"num_batches": 1, "batch_size": 1},
}


class Shell:
    """Runs lines in a folder, and remembers the ids in their answers."""

    def __init__(self, folder, url):
        self.folder, self.url, self.ids = folder, url, {}

    def __call__(self, line):
        for prefix, last in self.ids.items():
            line = line.replace(f"{prefix}_…", last)
        done = subprocess.run(["bash", "-euc", line.replace("curl ", "curl -sS --fail-with-body ", 1)], cwd=self.folder,
                              env={**os.environ, "U": self.url, "no_proxy": "*"}, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=60 * PATIENCE, check=False)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            return done.stdout
        if "id" in answer:
            self.ids[answer["id"].split("_")[0]] = answer["id"]
        return answer


@pytest.fixture(name="sh")
def fixture_sh(daemon, tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(MODEL, folder / "model.onnx")
    shutil.copy(CALIB, folder / "calib.npz")
    return Shell(folder, daemon.url)


def test_session_as_documented(sh, reference):
    model, calibration, submitted, done, _ = (sh(line) for line in SESSION.splitlines())
    assert [i["name"] for i in model["inputs"]] == ["image"] and [o["name"] for o in model["outputs"]] == ["logits"]
    assert model["layers"] == {"total": 6, "searchable": 6} and model["status"] == "complete" and not model["deduplicated"]
    assert calibration["samples"] == 256 and [a["name"] for a in calibration["arrays"]] == ["image"]
    assert submitted["status"] in ("queued", "running") and submitted["params"]["param_bw"] == 4
    assert done["status"] == "succeeded" and done["attempt"] == 1 and done["error"] is None and done["result"]
    assert done["model"] == {"id": model["id"], "sha256": model["sha256"]}
    assert (done["calibration"]["samples"], done["calibration"]["samples_used"]) == (256, 256)
    assert done["progress"]["fraction"] == 1 and done["progress"]["layers_done"] == done["progress"]["layers_total"] == 6
    assert done["usage"]["peak_rss_bytes"] > 0 and done["usage"]["wall_seconds"] > 0
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    saved, = [f for f in sh.folder.iterdir() if f.name not in ("model.onnx", "calib.npz")]
    assert saved.suffix == ".encodings" and saved.read_bytes() == reference(param_bw=4)


def documented():
    """The curl lines of the README's session, without the comments behind them."""
    session = (TOP / "README.md").read_text().split("\n## A session with curl\n")[1].split("\n## ")[0]
    return [re.sub(r"  +# .*", "", x) for x in session.splitlines() if x.startswith("curl ")]


def test_session_of_the_readme(sh):
    lines = documented()
    assert len(lines) >= 5
    for line in lines:
        if "/files/" not in line:
            sh(line)
    saved, = sh.folder.glob("*.encodings")
    assert saved.stat().st_size > 1000
    kinds = {re.split(r"[/?\"]", line.split("/v1/")[1])[0] for line in lines}
    assert kinds == {"models", "calibrations", "jobs"}


def test_external_file_of_the_readme(sh):
    line, = (x for x in documented() if "/files/" in x)
    shutil.copy(ZOO / "external_data.onnx", sh.folder / "model.onnx")
    shutil.copy(ZOO / "external_data.data", sh.folder)
    assert sh("curl -T model.onnx $U/v1/models")["status"] == "incomplete"
    assert sh(line.replace("model.onnx.data", "external_data.data"))["status"] == "complete"


def test_session_by_post(sh):
    assert sh("curl --data-binary @model.onnx $U/v1/models?name=first")["name"] == "first"
    assert sh("curl --data-binary @calib.npz -H 'Content-Type: application/octet-stream' $U/v1/calibrations")["samples"] == 256
    sh("""curl --json '{"model":"mdl_…","calibration":"cal_…","name":"a name","labels":{"team":"ä"}}' $U/v1/jobs""")
    done = sh('curl "$U/v1/jobs/job_…?wait=60"')
    assert (done["status"], done["name"], done["labels"]) == ("succeeded", "a name", {"team": "ä"})


def test_upload_of_unknown_length(sh):
    assert sh("cat model.onnx | curl -T - $U/v1/models")["size"] == MODEL.stat().st_size
    assert sh("cat model.onnx | curl -T - $U/v1/models")["deduplicated"]


@pytest.mark.parametrize("version", ["1.0.0", "0.6.1"])
@pytest.mark.parametrize("params", [{}, {"param_bw": 8, "num_candidates": 7}, {"batch_size": 50, "num_batches": 3, "threads": 1}],
                         ids=["default", "wide", "batches"])
def test_encodings_of_the_sample(standing, reference, version, params):
    job = standing.job(standing.model_id, standing.calibration_id, **params)
    done = standing.succeed(job)
    assert {k: done["params"][k] for k in params} == params
    assert standing.encodings(job, version) == reference(version=version, **params)


def test_globs_reach_the_engine(standing, tmp_path):
    job = standing.job(standing.model_id, standing.calibration_id, include=["*/Conv"], exclude=["/0/*"])
    standing.succeed(job)
    assert [x["node"] for x in standing.json(f"/v1/jobs/{job}/layers")["data"]] == ["/3/Conv", "/6/Conv", "/9/Conv"]
    subprocess.run([SEQMSED, "quantize", MODEL, CALIB, "-o", tmp_path, "--quiet", "--include", "*/Conv", "--exclude", "/0/*"], check=True,
                   timeout=60 * PATIENCE)
    assert standing.encodings(job) == (tmp_path / "model.encodings").read_bytes()


def test_overrides_reach_the_engine(standing, tmp_path):
    overrides = [{"match": {"op_type": "Gemm"}, "granularity": "block", "block_size": 64, "lpbq": True},
                 {"match": {"name": "/0/*"}, "granularity": "per_tensor", "num_candidates": 5}]
    job = standing.job(standing.model_id, standing.calibration_id, overrides=overrides)
    standing.succeed(job)
    layers = standing.json(f"/v1/jobs/{job}/layers")["data"]
    assert [x["settings"]["granularity"] for x in layers] == ["per_tensor"] + ["per_channel"] * 3 + ["lpbq", "per_channel"]
    assert [x["settings"]["candidates"] for x in layers] == [5] + [20] * 5
    assert [len(x["chosen"]) for x in layers] == [1, 12, 24, 32, 32 * 8, 10]
    subprocess.run([SEQMSED, "quantize", MODEL, CALIB, "-o", tmp_path, "--quiet", "--overrides", json.dumps(overrides)], check=True,
                   timeout=60 * PATIENCE)
    assert standing.encodings(job) == (tmp_path / "model.encodings").read_bytes()


def test_files_are_those_of_the_command_line(standing, tmp_path):
    """Whatever both write under one name, encodings apart, is the same."""
    subprocess.run([SEQMSED, "quantize", MODEL, CALIB, "-o", tmp_path, "--quiet"], check=True, timeout=60 * PATIENCE)
    listed = {a["name"] for a in standing.json(f"/v1/jobs/{standing.job_id}/artifacts")["data"]}
    for path in tmp_path.iterdir():
        if path.suffix == ".onnx":
            assert path.name in listed
            assert standing.get(f"/v1/jobs/{standing.job_id}/artifacts/{path.name}").body == path.read_bytes()


def test_artifacts_and_report(standing):
    listed = standing.json(f"/v1/jobs/{standing.job_id}/artifacts")["data"]
    by_name = {a["name"]: a for a in listed}
    assert {"report.json"} < set(by_name) and any(n.endswith(".encodings") for n in by_name)
    for a in listed:
        got = standing.get(a["url"])
        assert got.status == 200 and len(got.body) == a["size"]
        assert got.headers["Content-Type"] == a["media_type"]
    report = standing.get(by_name["report.json"]["url"]).json()
    layers = standing.json(f"/v1/jobs/{standing.job_id}/layers")["data"]
    assert [x["node"] for x in layers] == [x.get("node", x.get("name")) for x in report["layers"]]
    assert standing.get(f"/v1/jobs/{standing.job_id}/artifacts/nothing").status == 404


def test_layers_of_a_job(standing):
    layers = standing.json(f"/v1/jobs/{standing.job_id}/layers")["data"]
    assert [x["index"] for x in layers] == list(range(6))
    for x in layers:
        assert len(x["chosen"]) == x["channels"] and all(0 <= c < 20 for c in x["chosen"])
        assert x["settings"] == {"param_bw": 4, "symmetric": True, "granularity": "per_channel", "block_size": 0, "candidates": 20,
                                 "fell_back": False, "loss_fn": "mse"}
        assert x["histogram"] == [x["chosen"].count(c) for c in range(20)]
        assert 0 <= x["loss"] <= x["minmax_loss"] and 0 <= x["gain"] <= 1 and x["ms"] >= 0
        assert x["gain"] == pytest.approx(1 - x["loss"] / x["minmax_loss"])


def test_loss_curve_of_a_layer(standing):
    for x in standing.json(f"/v1/jobs/{standing.job_id}/layers")["data"]:
        curve = standing.json(f"/v1/jobs/{standing.job_id}/layers/{x['index']}/curve")
        assert {k: curve[k] for k in ("index", "node", "loss", "minmax_loss", "loss_fn")} == {
            "index": x["index"], "node": x["node"], "loss": x["loss"], "minmax_loss": x["minmax_loss"], "loss_fn": "mse"}
        points = curve["points"]
        assert [p["candidate"] for p in points] == list(range(20))
        assert [p["range"] for p in points] == [(i + 1) / 20 for i in range(20)]
        assert [p["chosen"] for p in points] == x["histogram"]
        assert points[-1]["loss"] == x["minmax_loss"]
        assert all(p["loss"] >= x["loss"] for p in points)  # each channel chose its best
        assert points[0]["loss"] > points[-1]["loss"]  # a twentieth of the range is no good
    for wrong in ("6", "-1", "x", "00000000001", "1.5"):
        assert standing.get(f"/v1/jobs/{standing.job_id}/layers/{wrong}/curve").code == "not-found"
    assert standing.get("/v1/jobs/job_1/layers/0/curve").code == "not-found"


@pytest.mark.parametrize("params", [{"granularity": "per_tensor"}, {"loss_fn": "sqnr"}, {"loss_fn": "l1", "num_candidates": 7}])
def test_loss_curves_of_other_searches(standing, params):
    job = standing.job(standing.model_id, standing.calibration_id, **params)
    standing.succeed(job)
    for x in standing.json(f"/v1/jobs/{job}/layers")["data"]:
        curve = standing.json(f"/v1/jobs/{job}/layers/{x['index']}/curve")
        assert len(curve["points"]) == params.get("num_candidates", 20) and curve["loss_fn"] == params.get("loss_fn", "mse")
        assert curve["points"][-1]["loss"] == x["minmax_loss"]
        if "granularity" in params:
            assert curve["points"][x["chosen"][0]]["loss"] == x["loss"]


def test_loss_curves_with_gaps_and_without_a_search(standing):
    coarse = standing.job(standing.model_id, standing.calibration_id, search="coarse_to_fine", num_candidates=50)
    off = standing.job(standing.model_id, standing.calibration_id, search="off")
    standing.succeed(coarse)
    standing.succeed(off)
    curves = [standing.json(f"/v1/jobs/{coarse}/layers/{i}/curve")["points"] for i in range(6)]
    assert all(c[-1]["loss"] is not None for c in curves) and any(p["loss"] is None for c in curves for p in c)
    for i in range(6):
        assert standing.json(f"/v1/jobs/{off}/layers/{i}/curve")["points"] == []


def test_layers_of_a_model(standing):
    shown = json.loads(subprocess.run([SEQMSED, "inspect", MODEL, "--json"], capture_output=True, check=True, timeout=60 * PATIENCE).stdout)
    assert standing.json(f"/v1/models/{standing.model_id}/layers")["data"] == shown["layers"]
    model = standing.json(f"/v1/models/{standing.model_id}")
    assert (model["inputs"], model["outputs"], model["opset"]) == (shown["inputs"], shown["outputs"], shown["opset"])


def test_facts_about_the_server(standing):
    server = standing.json("/v1/server")
    version = subprocess.run([SEQMSED, "version"], capture_output=True, text=True, check=True).stdout
    assert server["version"] in version and server["onnxruntime"] and server["limits"]["max_json_bytes"] == 65536
    assert standing.json("/livez")["status"] == "ok"
    ready = standing.json("/readyz?verbose")
    assert ready["status"] == "ok" and all(c["ok"] for c in ready["checks"]) and len(ready["checks"]) >= 3
    queue = standing.json("/v1/queue")
    assert (queue["queued"], queue["running"], queue["jobs"]) == (0, 0, [])


def test_without_onnx_runtime(tmp_path):
    """It serves, says what is missing, and jobs fail with a reason."""
    daemon = Daemon(tmp_path)
    daemon.env["SEQMSED_ONNXRUNTIME"] = "libm.so.6"  # a library, but another one
    daemon.may_log_errors = True
    daemon.start()
    try:
        job = daemon.job(daemon.model(), daemon.calibration())
        failed = daemon.wait(job)
        assert (failed["status"], failed["attempt"], failed["error"]["code"]) == ("failed", 1, "ort-error"), failed
        assert daemon.json("/v1/server")["onnxruntime"] is None
        assert daemon.request("GET", "/readyz", checked=False).status == 503
    finally:
        daemon.close()


def test_unix_socket(tmp_path):
    state, path = tmp_path / "state", tmp_path / "socket"
    with subprocess.Popen([SEQMSED, "serve", "--listen", f"unix:{path}", "--state-dir", state, "--log-level", "error"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline().decode() == f"listening on unix:{path}\n"
            assert path.stat().st_mode & 0o077 == 0
            done = subprocess.run(["curl", "-sS", "--unix-socket", path, "http://localhost/livez"], capture_output=True, timeout=20 * PATIENCE,
                                  check=True)
            assert json.loads(done.stdout) == {"status": "ok"}
        finally:
            process.terminate()
            assert process.wait(10 * PATIENCE) == 0
    assert not path.exists()


@pytest.mark.seconds(120)
@pytest.mark.parametrize("name", MODELS)
def test_real_model(daemon, reference, name):
    if SANITIZER and name not in ("digits_cnn", "mnist_resnet"):
        pytest.skip("too slow here")
    model, calib = (next((p for p in (SHARED / "models" / name / f, TOP / "build/models" / name / f) if p.exists()), None)
                    for f in ("model.onnx", "calib.npz"))
    if not model or not calib:
        pytest.skip(f"{name} is not at hand")
    m = daemon.model(model)
    job = daemon.job(m, daemon.calibration(calib, f"?model={m}"), **MODELS[name])
    daemon.succeed(job, 100)
    assert daemon.encodings(job) == reference(model, calib, **MODELS[name])
