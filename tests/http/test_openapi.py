"""The served OpenAPI document: whole, true to the route table, and true to what the daemon answers (schemathesis, `make deps-dev`)."""
import os
import re
import subprocess
import sys

import pytest

from daemon import CALIB, MODEL, PATIENCE, TOP

TOOLS = TOP / "build/deps/api"
EXAMPLES = int(os.environ.get("SEQMSED_EXAMPLES", 5))


def rows():
    """The route table's rows: (methods, pattern, query)."""
    text = (TOP / "api/routes.c").read_text()
    return re.findall(r'\{([A-Z]+(?: \| [A-Z]+)*), "(/[^"]*)", "([^"]*)",', text)


def plain(path):
    return re.sub(r"\{\w+\}", "{}", path)


def test_every_route_and_parameter_is_described(standing):
    document = standing.json("/openapi.json")
    assert document["openapi"] == "3.1.0" and document["info"]["version"] in standing.json("/v1/server")["version"]
    described = {(method.upper(), plain(path)): operation for path, item in document["paths"].items() for method, operation in item.items()}
    table = {(method, pattern.replace("{*}", "{}")): query.split() for methods, pattern, query in rows() for method in methods.split(" | ")}
    assert set(described) == set(table) and len(table) > 30
    for key, operation in described.items():
        assert [p["name"] for p in operation["parameters"] if p["in"] == "query"] == table[key], key
        assert len([p for p in operation["parameters"] if p["in"] == "path"]) == key[1].count("{}"), key
        assert operation["summary"] and "default" in operation["responses"]
    names = [o["operationId"] for o in described.values()]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere(standing):
    document = standing.json("/openapi.json")

    def walk(v):
        if isinstance(v, dict):
            if "$ref" in v:
                kind, name = re.fullmatch(r"#/components/(\w+)/(\w+)", v["$ref"]).groups()
                assert name in document["components"][kind], v
            for x in v.values():
                walk(x)
        elif isinstance(v, list):
            for x in v:
                walk(x)
    walk(document)
    settings = {p["name"] for p in standing.json("/v1/server")["params"]}
    assert settings | {"reuse", "deadline_seconds"} <= set(document["components"]["schemas"]["Params"]["properties"])


def test_the_document_is_valid(standing):
    if not TOOLS.is_dir():
        pytest.skip("no openapi-spec-validator (make deps-dev)")
    program = "import json, sys, openapi_spec_validator as v; v.validate(json.load(sys.stdin))"
    subprocess.run([sys.executable, "-c", program], input=standing.get("/openapi.json").body, check=True, timeout=60 * PATIENCE,
                   env=os.environ | {"PYTHONPATH": str(TOOLS)})


CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection,"
          "unsupported_method")


@pytest.mark.seconds(400 if EXAMPLES <= 5 else 36000)
def test_answers_are_as_described(start):
    """Some requests for every operation, good and bad ones. SEQMSED_EXAMPLES is how many (CI: a few; a soak: hundreds)."""
    if not TOOLS.is_dir():
        pytest.skip("no schemathesis (make deps-dev)")
    daemon = start()
    model, calibration = daemon.model(), daemon.calibration()
    daemon.succeed(daemon.job(model, calibration))
    done = subprocess.run([sys.executable, "-m", "schemathesis.cli", "run", f"{daemon.url}/openapi.json", "-n", str(EXAMPLES), "--checks", CHECKS, "--seed", "1",
                           "--phases", "examples,coverage,fuzzing", "--no-color", "--exclude-path-regex", "^/v1/jobs/.*/events|^/web/|^/v1/uploads"],
                          env=os.environ | {"PYTHONPATH": str(TOOLS), "no_proxy": "*"}, cwd=daemon.state.parent, capture_output=True, text=True,
                          timeout=(380 if EXAMPLES <= 5 else 35000) * PATIENCE, check=False)
    print(done.stdout[-20000:])
    assert done.returncode == 0, done.stderr[-2000:]


# tus's own media type is that of bytes; nothing else of the document needs a word of explanation.
GENERATOR = "post_hooks: []\ncontent_type_overrides:\n  application/offset+octet-stream: application/octet-stream\n"
SESSION = """
import io, json, sys
from client import Client
from client.api.default import calibrations_add, jobs_add, jobs_get, models_add, models_list, results_artifact, results_encodings, results_layers
from client.models import Job, JobRequest, Params, Problem, ResultsEncodingsVersion
from client.types import File

c = Client(base_url=sys.argv[1])
model = models_add.sync(client=c, name="by a generated client", body=File(payload=io.BytesIO(open(sys.argv[2], "rb").read())))
calibration = calibrations_add.sync(client=c, model=model.id, body=File(payload=io.BytesIO(open(sys.argv[3], "rb").read())))
wrong = jobs_add.sync(client=c, body=JobRequest(model=model.id, calibration="cal_1"))
assert isinstance(wrong, Problem) and wrong.code == "not-found", wrong
job = jobs_add.sync(client=c, body=JobRequest(model=model.id, calibration=calibration.id, params=Params(param_bw=3)))
assert isinstance(job, Job), job
while job.status not in ("succeeded", "failed", "canceled"):
    job = jobs_get.sync(job.id, client=c, wait=20)
assert job.status == "succeeded" and job.created_at <= job.finished_at, job
layers = results_layers.sync(job.id, client=c).data
assert [x.index for x in layers] == list(range(6)) and all(x.loss <= x.minmax_loss for x in layers)
assert [m.name for m in models_list.sync(client=c).data] == [model.name]
encodings = results_encodings.sync_detailed(job.id, client=c, version=ResultsEncodingsVersion.VALUE_2)
assert encodings.parsed["version"] == "2.0.0", encodings
got = results_artifact.sync_detailed(job.id, "model_1_0_0.encodings", client=c)
sys.stdout.buffer.write(got.content)
"""


def test_a_generated_client_runs_a_session(daemon, tmp_path, reference):
    """openapi-python-client makes a client of the document without a warning; it uploads, submits, waits and downloads."""
    if not (TOOLS / "openapi_python_client").is_dir():
        pytest.skip("no openapi-python-client (make deps-dev)")
    env = os.environ | {"PYTHONPATH": str(TOOLS), "no_proxy": "*", "NO_COLOR": "1"}
    (tmp_path / "openapi.json").write_bytes(daemon.get("/openapi.json").body)
    (tmp_path / "config.yaml").write_text(GENERATOR)
    made = subprocess.run([sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--config", "config.yaml",
                           "--output-path", "client", "--meta", "none", "--fail-on-warning"], cwd=tmp_path, env=env, capture_output=True, text=True,
                          timeout=60 * PATIENCE, check=False)
    assert made.returncode == 0 and "WARNING" not in made.stdout + made.stderr, made.stdout + made.stderr
    document = daemon.json("/openapi.json")
    assert len(list((tmp_path / "client/api/default").glob("*.py"))) == 1 + sum(len(item) for item in document["paths"].values())
    (tmp_path / "session.py").write_text(SESSION)
    done = subprocess.run([sys.executable, "session.py", daemon.url, MODEL, CALIB], cwd=tmp_path, env=env, capture_output=True, timeout=60 * PATIENCE,
                          check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == reference(param_bw=3)
