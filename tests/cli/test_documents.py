"""Every command that a document shows is run, line by line, where a reader would: at the top of a checkout with a build, a model and its data.

Commands stand in fenced blocks that begin with ```sh. One that cannot be run here says on that line where it is run instead (`tested in PATH`), or why nowhere
(`untested: REASON`). In the others, `mdl_…` stands for the id that an answer before had, as for the reader; only the port is another one."""
import os
import pathlib
import re
import selectors
import shutil
import socket
import subprocess
import time

import pytest

from conftest import SEQMSED, TOP

DOCUMENTS = sorted(f for f in TOP.rglob("*.md") if "build" not in f.relative_to(TOP).parts)
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```$", re.M | re.S)
COMMAND = re.compile(r"^(\$ )?(build/seqmsed|curl(?= [-$h'])|make|apt-get|tests/|docker/|pip|python3?|/usr/bin/python3|cc|git|docker) ")
SECONDS = 120  # for a command; none takes more than a few


def blocks(path):
    """(what is behind ```sh, text) of a document's shell blocks."""
    return [(info.removeprefix("sh").strip(), text) for _, info, text in BLOCK.findall(path.read_text()) if info.split(" ")[0] == "sh"]


def commands(text):
    """A block's commands; one may have several lines."""
    command = ""
    for line in text.splitlines():
        command += line + "\n"
        if subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True, check=False).returncode == 0 and not line.endswith("\\"):
            if re.sub(r"^\s*#.*$", "", command, flags=re.M).strip():
                yield command
            command = ""
    assert not command, f"an unfinished command: {command}"


class Shell:
    """One bash for a whole document, so that variables and background jobs are there for the next block."""

    def __init__(self, folder):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        env = {k: v for k, v in os.environ.items() if not k.startswith("SEQMSED")}
        self.bash = subprocess.Popen(["bash"], cwd=folder, env=env | {"SEQMSED_SERVER": f"http://127.0.0.1:{self.port}"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, process_group=0)
        self.ids = {}
        # The reader sees that an answer is a problem; here the status has to say so.
        self.run('curl() { command curl -sS --fail-with-body "$@"; }\n')

    def run(self, command):
        """Returns (status, output)."""
        for prefix, known in self.ids.items():
            command = command.replace(prefix + "_…", known)
        assert "…" not in re.sub(r"#.*$", "", command, flags=re.M), f"an id that no answer had: {command}"
        command = command.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        self.bash.stdin.write(f"{command}\necho; echo \"==status $?\"\n".encode())
        self.bash.stdin.flush()
        status, output = self.answer(command)
        for found in re.findall(r'"id": "((mdl|cal|job)_[0-9a-f]+)"', output):
            self.ids[found[1]] = found[0]
        if command.rstrip().endswith("&"):
            self.wait_for_daemon()
        return status, output

    def answer(self, command):
        output, end = b"", time.monotonic() + SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.bash.stdout, selectors.EVENT_READ)
            while not (found := re.search(rb"\n==status (\d+)\n", output)):
                assert time.monotonic() < end and selector.select(end - time.monotonic()), f"still not done: {command}\n{output.decode()}"
                more = os.read(self.bash.stdout.fileno(), 65536)
                assert more, f"the shell ended: {command}\n{output.decode()}"
                output += more
        return int(found[1]), output[:found.start()].decode()

    def wait_for_daemon(self):
        end = time.monotonic() + SECONDS
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < end, "nobody listens"
            time.sleep(0.05)

    def close(self):
        os.killpg(self.bash.pid, 9)
        self.bash.communicate()


@pytest.fixture(name="shell")
def fixture_shell(tmp_path):
    if "asan" in SEQMSED or "tsan" in SEQMSED:
        pytest.skip("documents speak of the release")
    for f in TOP.iterdir():
        if f.name not in ("build", ".git"):
            (tmp_path / f.name).symlink_to(f)
    (tmp_path / "build").mkdir()
    (tmp_path / "build/seqmsed").symlink_to(pathlib.Path(SEQMSED).resolve())
    for name in ("model.onnx", "calib.npz"):
        shutil.copy(TOP / "tests/data/digits" / name, tmp_path)
    for name in ("a.encodings", "b.encodings"):
        shutil.copy(next((TOP / "tests/data/digits/golden").glob("*.encodings")), tmp_path / name)
    shell = Shell(tmp_path)
    yield shell
    shell.close()


@pytest.mark.parametrize("path", [d for d in DOCUMENTS if any(not info for info, _ in blocks(d))], ids=lambda d: str(d.relative_to(TOP)))
def test_commands_work(shell, path):
    for info, text in blocks(path):
        for command in commands(text) if not info else ():
            status, output = shell.run(command)
            assert status == 0, f"{command}\n{output}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda d: str(d.relative_to(TOP)))
def test_no_command_is_left_out(path):
    for info, _ in blocks(path):
        tested = re.fullmatch(r"tested in (\S+)", info)
        assert not info or re.fullmatch(r"untested: .{10,}", info) or tested and (TOP / tested[1]).exists(), info
    rest = BLOCK.sub("", path.read_text())
    assert not [line for line in rest.splitlines() if line.startswith("    ") and COMMAND.match(line.strip())], "a command outside of a ```sh block"
    others = [line for _, info, text in BLOCK.findall(path.read_text()) if info.split(" ")[0] != "sh" for line in text.splitlines() if COMMAND.match(line)]
    assert not others, f"commands in a block that is not ```sh: {others}"


def anchors(path):
    """The anchors that a page of this text has: of its headings."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", path.read_text(), re.M)}


def test_links_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(#([^)\s]+)\)", path.read_text()):
            assert target in anchors(path), f"{path.name}: #{target}"
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", BLOCK.sub("", path.read_text())):
            if not re.match(r"[a-z]+:", target):
                assert (path.parent / target).exists(), f"{path.name}: {target}"
