"""What the compiler was to put into the program, and what must not be in the repository."""
import os
import re
import subprocess

import pytest

from conftest import SEQMSED, TOP


def readelf(*argv):
    return subprocess.run(["readelf", "-W", *argv, SEQMSED], capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.skipif(os.path.basename(os.path.dirname(SEQMSED)) != "build", reason="that of a release build")
def test_the_program_is_hardened():
    """Position-independent, its tables read-only once it runs, no executable stack, canaries, checked copies."""
    assert "DYN (Position-Independent Executable file)" in readelf("-h")
    segments, dynamic, symbols = readelf("-l"), readelf("-d"), readelf("--dyn-syms")
    assert "GNU_RELRO" in segments and "BIND_NOW" in dynamic
    assert re.search(r"GNU_STACK .* RW +0x", segments)
    assert "__stack_chk_fail" in symbols and re.search(r"__(memcpy|snprintf|vsnprintf|read|memset)_chk", symbols)


def test_no_secret_is_in_the_repository():
    """No key of ours that chance made, no private key."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, timeout=60, check=False)
    if listed.returncode:
        pytest.skip("no repository")
    for name in listed.stdout.split("\0")[:-1]:
        path = TOP / name
        if path.is_file():
            data = path.read_bytes()
            keys = re.findall(rb"sqm_[0-9A-Za-z]{8}_([0-9A-Za-z]{43})_[0-9A-Za-z]{6}\b", data)
            assert not [k for k in keys if len(set(k)) > 8], name  # the tests' own are zeros and the like
            assert not re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----", data), name
