"""Help, completion and manual page are made from the same tables; here, that each of them has every option, and that the program takes it."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import SEQMSED

COMMANDS = re.findall(r"^  seqmsed (\S+) +\S", subprocess.run([SEQMSED, "help"], capture_output=True, text=True, check=True).stdout, re.M)


def output(*argv):
    return subprocess.run([SEQMSED, *argv], capture_output=True, text=True, check=True).stdout


def flags(command):
    """The options in a command's help, without those of other commands that a sentence names."""
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)", output(command, "--help"), re.M)) if command not in ("version", "help") else set()


def complete(*words):
    """What bash offers for the last word."""
    script = f'{output("completion", "bash")}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _seqmsed; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "bash", "seqmsed", *words], capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_completed(command):
    assert complete(command, "-") - {"-o", "--help"} >= flags(command)
    assert {f for f in complete(command, "-") if f.startswith("--")} - {"--help"} <= flags(command) | {"--state-dir", "--keep-job-days", "--keep-upload-days"}


@pytest.mark.parametrize("command", ["quantize", "inspect", "compare", "submit", "wait", "get", "list", "cancel", "key"])
def test_every_option_is_known_to_its_command(run, command):
    """With every option on the line there may be much to complain of, but none may be unknown."""
    for flag in flags(command):
        done = run(command, *(["--quantizers"] if command == "inspect" else []), flag + "=", env=dict(os.environ, SEQMSED_SERVER="unix:/nowhere"))
        assert done.returncode != 0 and not re.search(r"unknown (option|word)|does not know", done.stderr), (flag, done.stderr)
    done = run(command, "--surely-unknown=1")
    assert done.returncode == 2, done.stderr


def test_commands_words_and_files_are_completed(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_text("")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert complete("") == set(COMMANDS)
    assert complete("qu") == {"quantize"}
    assert complete("quantize", "--loss-fn", "") == {"mse", "l1", "sqnr"}
    assert complete("quantize", "--encoding-version", "2") == {"2.0.0", "2.1.0"}
    assert complete("quantize", "mo") == {"model.onnx"}
    assert complete("quantize", "-o", "") == {"folder"}
    assert complete("key", "r") == {"revoke", "rotate"}


def test_zsh_has_every_option():
    script = output("completion", "zsh")
    assert script.startswith("#compdef seqmsed\n")
    for command in COMMANDS:
        line = re.search(rf"^\t{command}\) (.*?) ;;$", script, re.M | re.S)[1]
        assert all(f"{flag}[" in line or f"{flag}}}'[" in line for flag in flags(command) - {"--help"}), command
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n"], input=script, text=True, check=True)


def test_the_manual_page_has_every_option_and_no_fault():
    page = output("man")
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=True)
        assert done.stderr == ""
    if shutil.which("mandoc"):
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning"], input=page, capture_output=True, text=True, check=False)
        assert not [line for line in done.stdout.splitlines() if ("WARNING" in line or "ERROR" in line) and "missing date" not in line], done.stdout
    plain = page.replace("\\-", "-").replace("\\:", "")
    for command in COMMANDS:
        if command != "help":
            part = re.search(rf"^\.SS seqmsed {command}\n(.*?)^\.S[SH]", plain, re.M | re.S)[1]
            assert all(f"\\fB{flag}\\fR" in part or f"\\fR, \\fB{flag}\\fR" in part for flag in flags(command)), command
    for code in ("calibration-mismatch", "not-an-onnx", "disk-full"):
        assert f"\n{code}\n" in plain
