"""report.html as the daemon serves it, and as a file on a disk. No script runs in what is served, not even a test's: those look at the file."""
import pytest

from daemon import CALIB, DIGITS, MODEL

SCREENS = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": {"viewport": {"width": 375, "height": 800}}}


@pytest.fixture(name="url", scope="module")
def fixture_url(daemon):
    """Where the report of a job is, with all that a report can have but folded layers."""
    job = daemon.job(daemon.model(MODEL), daemon.calibration(CALIB), evaluate={"calibration": daemon.calibration(DIGITS / "eval.npz"), "labels": "label"},
                     overrides=[{"match": {"op_type": "Gemm"}, "num_candidates": 7}])
    daemon.succeed(job)
    return f"/v1/jobs/{job}/artifacts/report.html"


@pytest.fixture(name="file")
def fixture_file(daemon, url, tmp_path):
    file = tmp_path / "report.html"
    file.write_bytes(daemon.get(url).body)
    return file


def test_it_is_served_as_a_page_that_can_do_nothing(daemon, url):
    r = daemon.get(url)
    assert r.headers["Content-Type"] == "text/html" and r.headers["Content-Disposition"].startswith("inline;")
    policy = r.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and policy.endswith("; sandbox") and "script-src" not in policy
    other = daemon.get(url.replace(".html", ".json"))
    assert other.headers["Content-Disposition"].startswith("attachment;") and "Content-Security-Policy" not in other.headers


@pytest.mark.parametrize("name", SCREENS)
def test_it_looks_the_same_from_the_daemon_and_from_a_disk(open_page, axe, daemon, url, file, name):
    served, w = open_page(daemon.url + url, **SCREENS[name]), open_page(file.as_uri(), **SCREENS[name])
    background = w.page.locator("section").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert background == ("rgb(29, 33, 38)" if name == "dark" else "rgb(255, 255, 255)"), "its style is kept out"
    axe(w.page)
    w.shot(f"report-{name}")
    assert served.page.screenshot() == w.page.screenshot()
    served.quiet()
    assert not w.said, w.said


def test_it_is_sound_html(file, check_html):
    check_html(file)


def test_it_prints(open_page, file):
    assert open_page(file.as_uri()).page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
