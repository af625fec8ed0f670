"""The dashboard as somebody meets it: with a mouse, with a keyboard, on a telephone, in the dark."""
import json
import re
import struct
import subprocess
import zipfile
import zlib

import numpy

from conftest import SHOTS
from daemon import CALIB, DIGITS, MODEL, SEQMSED, ZOO, Daemon


def named(daemon, name, calibration=CALIB, **params):
    """A job that searches, with a name."""
    r = daemon.submit(model=daemon.model(), calibration=daemon.calibration(calibration), name=name, params={"reuse": False} | params)
    assert r.status == 202, r
    return r.json()["id"]


def test_an_empty_daemon_says_how_to_begin(open_page, axe, daemon):
    w = open_page()
    w.page.get_by_role("link", name="Start the first job").wait_for()
    assert f"curl -T model.onnx {daemon.url}/v1/models" in w.page.locator("pre").inner_text()
    axe(w.page)
    w.shot("empty")
    w.quiet()


def test_a_whole_session_by_clicking(open_page, axe):
    w = open_page()
    page = w.page
    page.get_by_role("link", name="New job", exact=True).first.click()
    start = page.get_by_role("button", name="Start the job")
    start.wait_for()
    assert start.is_disabled()
    page.locator("#model-file").set_input_files(MODEL)
    page.get_by_text("6 of 6 layers can be searched").wait_for()
    page.locator("#calibration-file").set_input_files(CALIB)
    page.get_by_text("256 samples").first.wait_for()
    page.get_by_text("The settings are good.").wait_for()
    assert re.search(r"in about \d.*, with up to [\d.]+ MB of memory", page.get_by_text("6 layers are searched").inner_text())
    page.locator("#job-name").fill("digits at three bits")
    page.locator("#set-param_bw").fill("3")
    page.locator("summary").click()
    page.locator("#evaluation-file").set_input_files(DIGITS / "eval.npz")
    page.get_by_text("597 samples").wait_for()
    page.get_by_text("The settings are good.").wait_for()
    axe(page)
    w.shot("new")
    start.click()
    page.get_by_role("heading", name="digits at three bits").wait_for()
    page.get_by_role("heading", name="Files").wait_for(timeout=120000)
    assert page.get_by_role("region", name="On the evaluation data").locator("tbody tr").count() == 5
    axe(page)
    assert not re.search(r"\b(null|undefined|NaN)\b", page.locator("main").inner_text())
    w.shot("finished")
    with page.expect_download() as d:
        page.get_by_role("button", name="Download the encodings").click()
    with open(d.value.path(), encoding="utf-8") as f:
        assert json.load(f)["version"] == "1.0.0"
    with page.expect_popup() as popup:
        page.get_by_role("button", name="Read the report").click()
    popup.value.wait_for_load_state()
    assert "/artifacts/report.html?ticket=" in popup.value.url
    page.get_by_text("Log", exact=True).click()
    page.locator("ol.log li").first.wait_for()
    names = page.locator("ul.files button").all_inner_texts()
    assert {"report.html", "model_qdq.onnx", "model_2_1_0.encodings"} < set(names) and len(names) == 9
    w.quiet()


def test_layers_sort_filter_and_open(open_page, daemon, axe):
    job = daemon.get("/v1/jobs?status=succeeded").json()["data"][0]["id"]
    layers = daemon.get(f"/v1/jobs/{job}/layers").json()["data"]
    w = open_page(f"#/jobs/{job}")
    page, rows = w.page, w.page.locator("table", has_text="layers; a name opens").locator("tbody tr")
    rows.first.wait_for()
    page.get_by_role("button", name="Saved").click()
    assert page.get_by_role("columnheader", name="Saved").get_attribute("aria-sort") == "descending"
    by_gain = [x["node"] for x in sorted(layers, key=lambda x: -x["gain"])]
    assert [r.locator("td").nth(1).inner_text() for r in rows.all()] == by_gain
    page.locator("#layer-filter").fill("gemm")
    assert page.get_by_text("2 of 6 layers", exact=True).count() == 1
    page.get_by_role("button", name="/13/Gemm").click()
    page.get_by_role("img", name="Loss by range").wait_for()
    points = daemon.get(f"/v1/jobs/{job}/layers/4/curve").json()["points"]
    assert page.locator("svg circle").count() == sum(p["loss"] is not None for p in points) > 3
    assert page.evaluate("document.activeElement.id") == "layer-title"
    axe(page)
    w.shot("layer")
    w.quiet()


def test_the_same_again_with_another_setting(open_page, daemon):
    old = daemon.get("/v1/jobs?status=succeeded").json()["data"][0]
    w = open_page(f"#/jobs/{old['id']}")
    page = w.page
    page.get_by_role("link", name="Change and run").click()
    page.get_by_text("The settings are good.").wait_for()
    assert page.locator("#set-param_bw").input_value() == "3" and page.locator("#job-name").input_value() == old["name"]
    page.locator("#set-num_candidates").fill("10")
    page.locator("#job-name").fill("the same again")
    page.get_by_role("button", name="Start the job").click()
    page.get_by_role("heading", name="the same again").wait_for()
    new = daemon.get("/v1/jobs").json()["data"][0]
    daemon.succeed(new["id"])
    assert new["params"] == old["params"] | {"num_candidates": 10} and new["model"] == old["model"]
    page.get_by_role("heading", name="Files").wait_for()
    w.quiet()


def test_wrong_settings_are_explained_beside_them(open_page, daemon, axe):
    before = len(daemon.get("/v1/jobs").json()["data"])
    w = open_page("#/new")
    page = w.page
    page.locator("#model-known").select_option(index=1)
    page.locator("#calibration-known").select_option(index=1)
    page.get_by_text("The settings are good.").wait_for()
    page.locator("#set-param_bw").fill("99")
    page.locator("#set-param_bw").blur()
    page.locator("#set-param_bw-error").get_by_text("16").wait_for()
    page.locator("summary").click()
    page.locator("#set-overrides").fill("[{")
    page.locator("#set-param_bw").fill("4")
    page.locator("#set-param_bw").blur()
    page.locator("#set-overrides-error").get_by_text("no JSON").wait_for()
    axe(page)
    w.shot("refused")
    page.get_by_role("button", name="Start the job").click()
    page.locator("#set-overrides-error").get_by_text("no JSON").wait_for()
    assert len(daemon.get("/v1/jobs").json()["data"]) == before
    w.said = [s for s in w.said if "422" not in s]  # Chromium notes every refused request
    w.quiet()


def test_a_broken_upload_goes_on(open_page, daemon, tmp_path):
    """Ten megabytes are two pieces; the connection breaks in the first and in the second."""
    big, broken = tmp_path / "big.npz", []
    images = numpy.load(CALIB)["image"]
    numpy.savez(big, image=numpy.tile(images, (45000 // len(images), 1, 1, 1)))
    assert 8 << 20 < big.stat().st_size < 16 << 20
    w = open_page("#/new")

    def breaks(route):
        if route.request.method == "PATCH" and route.request.headers["upload-offset"] not in broken:
            broken.append(route.request.headers["upload-offset"])
            route.abort("connectionreset")
        else:
            route.continue_()
    w.page.route("**/v1/uploads/*", breaks)
    w.page.locator("#calibration-file").set_input_files(big)
    w.page.get_by_text(f"{45000 // len(images) * len(images)} samples").first.wait_for()
    assert broken == ["0", str(8 << 20)]
    w.said = [s for s in w.said if "ERR_CONNECTION_RESET" not in s]
    w.quiet()


def test_a_model_in_two_files(open_page):
    w = open_page("#/new")
    w.page.locator("#model-file").set_input_files(ZOO / "external_data.onnx")
    w.page.get_by_text("It keeps weights in other files").wait_for()
    w.page.locator("#model-file").set_input_files(ZOO / "external_data.data")
    w.page.get_by_text("layers can be searched").wait_for()
    w.quiet()


def test_pictures(open_page, tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress((b"\0" + bytes(range(8))) * 8)) + chunk(b"IEND", b"")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as z:
        for i in range(4):
            z.writestr(f"{i}.png", png)
    w = open_page("#/new")
    page = w.page
    page.locator("#model-file").set_input_files(MODEL)
    page.get_by_text("6 of 6 layers can be searched").wait_for()
    page.locator("#calibration-file").set_input_files(tmp_path / "pictures.zip")
    page.get_by_text("4 samples").first.wait_for()
    page.locator("summary").click()
    page.locator("#set-preprocess").fill("color=gray")
    page.locator("#set-preprocess").blur()
    page.get_by_text("on 4 of 4 samples").wait_for()
    w.said = [s for s in w.said if "422" not in s]
    w.quiet()


def test_a_refused_file_says_why(open_page, axe, tmp_path):
    (tmp_path / "holiday.onnx").write_bytes(b"no model at all")
    w = open_page("#/new")
    w.page.locator("#model-file").set_input_files(tmp_path / "holiday.onnx")
    w.page.get_by_role("alert").get_by_text("ONNX").first.wait_for()
    axe(w.page)
    w.said = [s for s in w.said if "422" not in s]
    w.quiet()


def test_a_running_job_is_watched_and_stopped(open_page, daemon, axe, tmp_path):
    big = tmp_path / "big.npz"
    images = numpy.load(CALIB)["image"]
    numpy.savez(big, image=numpy.tile(images, (60000 // len(images), 1, 1, 1)))
    job = named(daemon, "a long one", big, num_candidates=100000)
    w = open_page("#/")
    w.page.get_by_text("running", exact=True).wait_for()
    w.shot("queue")
    w.page.goto(f"{daemon.url}/#/jobs/{job}")
    w.page.locator("li[aria-current=step]").wait_for()
    axe(w.page)
    w.shot("running")
    w.page.get_by_role("button", name="Pause").click()
    w.page.get_by_role("button", name="Resume").click(timeout=120000)
    w.page.get_by_role("button", name="Cancel").click(timeout=120000)
    w.page.get_by_text("canceled").wait_for(timeout=120000)
    w.page.get_by_role("button", name="Run again").click()
    w.arrive(f"#/jobs/(?!{job})")
    w.page.get_by_role("button", name="Cancel").click(timeout=120000)
    w.page.get_by_text("canceled").wait_for(timeout=120000)
    w.page.get_by_role("button", name="Forget").click()
    w.page.get_by_role("button", name="Really forget?").click()
    w.page.get_by_role("heading", name="Queue").wait_for()
    w.quiet()


def test_a_failed_job_says_what_to_do(open_page, daemon, axe, tmp_path):
    bad = tmp_path / "bad.npz"
    images = numpy.load(CALIB)["image"].copy()
    images[3, 0, 0, 0] = numpy.nan
    numpy.savez(bad, image=images)
    job = named(daemon, "not a number", bad)
    w = open_page(f"#/jobs/{job}")
    w.page.get_by_role("heading", name="Why it failed").wait_for(timeout=120000)
    w.page.get_by_text("Look for NaN or infinity").wait_for()
    w.page.locator("ol.log li.error").first.wait_for()
    axe(w.page)
    w.shot("failed")
    w.quiet()


def test_names_out_of_models_are_only_text(open_page, daemon):
    name = '<img src=x onerror="document.title=1">'
    job = named(daemon, name)
    daemon.succeed(job)
    w = open_page(f"#/jobs/{job}")
    w.page.get_by_role("heading", name=name).wait_for()
    assert w.page.locator("main img").count() == 0
    w.quiet()


def test_two_jobs_compared(open_page, daemon, axe):
    params = {"evaluate": {"calibration": daemon.calibration(DIGITS / "eval.npz")}, "fold_batch_norm": True}
    four = named(daemon, "digits at four bits", **params)
    daemon.succeed(four)
    three = next(j["id"] for j in daemon.get("/v1/jobs?status=succeeded").json()["data"] if j["name"] == "digits at three bits")
    w = open_page("#/compare")
    w.page.locator("#job-a").select_option(three)
    w.arrive("#.*job_")
    w.page.locator("#job-b").select_option(four)
    w.page.get_by_role("heading", name="Settings that differ").wait_for()
    row = w.page.get_by_role("region", name="Settings that differ").get_by_role("row", name="param_bw")
    assert row.inner_text().split() == ["param_bw", "3", "4"]
    a, b = ({x["weight"]: x for x in daemon.get(f"/v1/jobs/{j}/layers").json()["data"]} for j in (three, four))
    assert w.page.get_by_text("6 layers that both have").count() == 1 and len(set(a) & set(b)) == 6
    assert w.page.get_by_role("region", name="Accuracy of both").get_by_role("row", name="searched, with activations accuracy").count() == 1
    axe(w.page)
    w.shot("compare")
    w.quiet()


def test_phone_and_dark(open_page, daemon, axe):
    job = next(j["id"] for j in daemon.get("/v1/jobs?status=succeeded").json()["data"] if j["name"] == "digits at three bits")
    for name, context in (("phone", {"viewport": {"width": 375, "height": 800}, "has_touch": True}), ("dark", {"color_scheme": "dark"})):
        for where, there in ((f"#/jobs/{job}", "Layers"), ("#/", "Jobs"), ("#/new", "Settings"), (f"#/compare/{job}/{job}", "Settings that differ")):
            w = open_page(where, **context)
            w.page.get_by_role("heading", name=there, exact=True).wait_for()
            axe(w.page)
            w.shot(f"{name}-{there.split()[0].lower()}{'-compare' if 'compare' in where else ''}")
            w.quiet()


def test_everything_by_keyboard(open_page):
    w = open_page("#/")
    w.page.keyboard.press("Tab")
    assert w.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    seen = set()
    for _ in range(12):
        w.page.keyboard.press("Tab")
        seen.add(w.page.evaluate("document.activeElement.textContent.trim()"))
    assert {"Queue", "New job", "Compare", "Key"} <= seen, seen


def test_a_key_is_asked_for_and_kept_in_the_tab_only(chromium, axe, tmp_path):
    d = Daemon(tmp_path)
    d.start()
    try:
        made = subprocess.run([SEQMSED, "key", "add", "ann", "--scope", "read,submit", "--state-dir", str(d.state)], capture_output=True, text=True, check=True)
        key = re.search(r"sqm_\w+", made.stdout).group()
        page = chromium.new_context().new_page()
        page.set_default_timeout(120000)
        page.goto(d.url)
        page.get_by_label("Key", exact=False).and_(page.locator("input")).wait_for()
        axe(page)
        page.locator("#key-input").fill(key)
        page.get_by_role("button", name="Use it").click()
        page.get_by_role("heading", name="Queue").wait_for()
        assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}" and key not in page.url
        assert page.evaluate("Object.values(sessionStorage)") == [key]
        page.context.close()
    finally:
        d.close()


def test_the_policy_allows_nothing_else(daemon):
    r = daemon.get("/")
    policy = r.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
    again = daemon.get("/web/app.js", If_None_Match=daemon.get("/web/app.js").headers["ETag"])
    assert again.status == 304
    assert daemon.get("/web/../../etc/passwd").status in (400, 404)


def test_every_page_is_sound_html(check_html):
    """All that was kept on the way here."""
    check_html(*SHOTS.glob("*.html"))
