#!/usr/bin/env python3
"""Runs the tests and sums them up; the last line is `N passed, N failed`.

    tests/run.py [--build build] [part ...]

Parts, all of them when none is named:
    unit          every tests/unit/test_*.c, a program in BUILD/tests (cmocka, read as TAP)
    fuzz          the committed corpora of tests/fuzz/corpus/NAME, replayed through BUILD/tests/replay_NAME
    cli           pytest over tests/cli: the program as its users call it
    http          pytest over tests/http: the real daemon
    memcheck      the quick unit tests under valgrind's memcheck (make deps-dev)
    fuzz-run      the fuzz targets of BUILD, each for $SEQMSED_FUZZ_SECONDS (default 60), as many at once as there are processors
    unit-threads  the unit tests in which threads meet, for ThreadSanitizer, which makes all of them slow
    browser       pytest over tests/browser: the dashboard in a real Chromium (make deps-dev)
    golden-small  the sample and the small models in tests/data against the reference's encodings beside them
    golden        the models in $SEQMSED_SHARED (default ../shared) against the reference's results there

A part whose subject is not there (no folder, no ../shared) says so and counts nothing. tests/tsan.supp
holds what the thread sanitizer has to be told. Only the standard library is used; what a part needs, its folder's README says.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

TOP = pathlib.Path(__file__).resolve().parent.parent
PARTS = ("unit", "fuzz", "cli", "http", "browser", "golden-small", "golden")
THREADS = ("test_blocks", "test_grids", "test_pools", "test_resume", "test_routes", "test_sandbox", "test_server", "test_shortlist", "test_store", "test_streams",
           "test_vectors")
GOLDEN = {"golden-small": ("small.py", "zoo.py", "tiny.py"), "golden": ("placement.py", "golden.py")}
UNIT_SECONDS = 1800
# Too slow under valgrind, which also knows neither our walls nor a program that starts itself.
NO_MEMCHECK = ("test_blocks", "test_bruteforce", "test_evaluate", "test_exports", "test_fold_batch_norm", "test_gram", "test_grids", "test_mishaps", "test_pools", "test_qdq_forms", "test_rates",
               "test_resume", "test_sandbox", "test_shortlist", "test_simulation")
MEMCHECK = ("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite,indirect",
            "--errors-for-leak-kinds=definite,indirect", f"--suppressions={TOP / 'tests/memcheck.supp'}")


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def add(self, what, passed, failed, skipped=0, seconds=None, output="", failures=()):
        """Counts a group of tests, prints its line, and, when something failed, what it printed. The names of what failed are for the
        last lines of all: a log is often kept from its end."""
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        words = [f"{passed} passed"] + [f"{n} {w}" for n, w in ((failed, "FAILED"), (skipped, "skipped")) if n]
        print(f"  {what:<40} {', '.join(words)}" + (f"  ({seconds:.1f} s)" if seconds and seconds >= 1 else ""))
        if failed:
            self.failures += [f"{what}: {name}" for name in failures or ["see above"]]
        if failed and output:
            print("    | " + "\n    | ".join(output.rstrip().splitlines()[-60:]))
        sys.stdout.flush()


def environment(build):
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", SEQMSED=str(TOP / build / "seqmsed"), SEQMSED_BUILD=str(TOP / build))
    env["XDG_CACHE_HOME"] = str(TOP / build / "cache")
    env.setdefault("ASAN_OPTIONS", "detect_stack_use_after_return=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", f"suppressions={TOP / 'tests/tsan.supp'}:second_deadlock_stack=1")
    return env


def run(argv, env, seconds=None):
    """Returns (exit status, stdout and stderr together, seconds)."""
    start = time.monotonic()
    try:
        done = subprocess.run([str(a) for a in argv], cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, check=False)
        code, out = done.returncode, done.stdout
    except subprocess.TimeoutExpired as e:
        code, out = -1, (e.stdout or b"") + f"\nstopped after {seconds} s\n".encode()
    return code, out.decode(errors="replace"), time.monotonic() - start


def tap(code, text):
    """Counts (passed, failed, skipped) of a TAP stream. Tests that were announced and never reported have failed, and so has a
    program that reports success for all and then ends badly (a leak, a crash in tear-down)."""
    planned = sum(int(n) for n in re.findall(r"^1\.\.(\d+)", text, re.M))
    results = re.findall(r"^(not ok|ok) \d+(.*)$", text, re.M)
    skipped = sum("# SKIP" in rest for _, rest in results)
    passed = sum(r == "ok" and "# SKIP" not in rest for r, rest in results)
    failed = len(results) - passed - skipped + max(0, planned - len(results))
    if not results or code != 0:
        failed = max(failed, 1)
    return passed, failed, skipped


def unit_programs(build):
    return [TOP / build / "tests" / source.stem for source in sorted((TOP / "tests/unit").glob("test_*.c"))]


def side_by_side(work, items):
    """work(item) of each, as many at once as there are processors; the results in order."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(work, items))


def unit(build, env, tally, only=None):
    programs = [p for p in unit_programs(build) if only is None or p.name in only]
    if not programs:
        print("  no unit tests")
    for program in programs:
        if not program.exists():
            tally.add(program.name, 0, 1, output=f"{program} was not built")
            continue
        code, out, seconds = run([program], env, UNIT_SECONDS)
        tally.add(program.name, *tap(code, out), seconds, out, re.findall(r"^not ok \d+(?: - )?(.*)$", out, re.M))


def fuzz(build, env, tally):
    for source in sorted((TOP / "tests/fuzz").glob("fuzz_*.c")):
        name = source.stem[len("fuzz_"):]
        corpus = TOP / "tests/fuzz/corpus" / name
        inputs = len([f for f in corpus.iterdir() if not f.name.startswith(".")]) if corpus.is_dir() else 0
        if not inputs:
            tally.add(f"corpus {name}", 0, 1, output=f"{corpus} is empty")
            continue
        code, out, seconds = run([TOP / build / "tests" / f"replay_{name}", corpus], env, UNIT_SECONDS)
        tally.add(f"corpus {name} ({inputs} inputs)", int(code == 0), int(code != 0), 0, seconds, out)


def memcheck(build, env, tally):
    if not shutil.which("valgrind"):
        tally.add("memcheck", 0, 1, output="valgrind is not there; `make deps-dev` installs it")
        return
    programs = [p for p in unit_programs(build) if p.name not in NO_MEMCHECK]
    for program, (code, out, seconds) in zip(programs, side_by_side(lambda p: run([*MEMCHECK, p], env, UNIT_SECONDS), programs)):
        tally.add(program.name, *tap(code, out), seconds, out, re.findall(r"^not ok \d+(?: - )?(.*)$", out, re.M))


def fuzz_run(build, env, tally):
    """New inputs go to a temporary folder: what is worth keeping in the corpus is a person's choice."""
    limit = int(os.environ.get("SEQMSED_FUZZ_SECONDS", 60))
    found = TOP / build / "found"
    found.mkdir(exist_ok=True)

    def one(source):
        name = source.stem[len("fuzz_"):]
        with tempfile.TemporaryDirectory() as fresh:
            return run([TOP / build / source.stem, f"-max_total_time={limit}", "-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1",
                        f"-artifact_prefix={found}/{name}-", fresh, TOP / "tests/fuzz/corpus" / name], env, limit + UNIT_SECONDS)
    sources = sorted((TOP / "tests/fuzz").glob("fuzz_*.c"))
    for source, (code, out, seconds) in zip(sources, side_by_side(one, sources)):
        runs = re.search(r"number_of_executed_units: (\d+)", out)
        tally.add(f"{source.stem} ({runs.group(1) if runs else 'no'} runs)", int(code == 0 and bool(runs)), int(code != 0 or not runs), 0, seconds, out)


def pytest(part, env, tally):
    folder = f"tests/{part}"
    if not list((TOP / folder).glob("test_*.py")):
        print(f"  no {part} tests")
        return
    failures = []
    with tempfile.NamedTemporaryFile(suffix=".xml") as xml:
        code, out, seconds = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={xml.name}", folder],
                                 dict(env, PYTHONDONTWRITEBYTECODE="1"))
        try:
            suite = ElementTree.parse(xml.name).getroot().find("testsuite")
            failures = [f"{case.get('name')}: {' '.join(fault.get('message', '').split())[:200]}"
                        for case in suite.iter("testcase") for fault in case if fault.tag in ("failure", "error")]
            total, bad, skipped = (sum(int(suite.get(k)) for k in keys) for keys in (("tests",), ("failures", "errors"), ("skipped",)))
        except (ElementTree.ParseError, AttributeError):
            total, bad, skipped = 1, 1, 0
    bad = max(bad, int(code != 0))
    tally.add(folder, max(0, total - bad - skipped), bad, skipped, seconds, out, failures)


def golden(build, env, tally, part):
    for name in GOLDEN[part]:
        script = TOP / "tests/golden" / name
        if not (TOP / build / "seqmsed").exists():
            tally.add(name, 0, 1, output=f"{build}/seqmsed was not built")
            continue
        code, out, seconds = run([sys.executable, script], dict(env, PYTHONDONTWRITEBYTECODE="1"))
        counts = re.search(r"^golden: (\d+) passed, (\d+) failed, (\d+) skipped$", out, re.M)
        passed, failed, skipped = (int(n) for n in counts.groups()) if counts else (0, 1, 0)
        failed = max(failed, int(code != 0))
        if not failed:
            print("    " + "\n    ".join(line for line in out.rstrip().splitlines() if not line.startswith("golden: ")))
        tally.add(f"tests/golden/{name}", passed, failed, skipped, seconds, out)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--build", default="build", help="the folder of the build to test")
    ap.add_argument("parts", nargs="*", choices=[*PARTS, "unit-threads", "memcheck", "fuzz-run", []], help="which parts, all by default")
    args = ap.parse_args()
    env, tally = environment(args.build), Tally()
    for part in args.parts or PARTS:
        print(f"{part}:")
        if part.startswith("golden"):
            golden(args.build, env, tally, part)
        elif part == "unit-threads":
            unit(args.build, dict(env, SEQMSED_SHARED="/nonexistent"), tally, THREADS)  # the thread sanitizer is too slow for large models
        elif part in ("cli", "http", "browser"):
            pytest(part, env, tally)
        else:
            {"unit": unit, "fuzz": fuzz, "memcheck": memcheck, "fuzz-run": fuzz_run}[part](args.build, env, tally)
    for failure in tally.failures:
        print(f"FAILED {failure}")
    if tally.skipped:
        print(f"({tally.skipped} skipped)")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
