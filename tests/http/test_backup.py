"""Backups of a daemon that works, and the way back; what is forgotten; files that a disk has damaged; migrations that are killed."""
import contextlib
import shutil
import sqlite3
import subprocess
import tarfile

import pytest

from daemon import MODEL, PATIENCE, SANITIZER, SEQMSED, TOP, Daemon, can_trace, until

DAY_MS = 86400000


quick = pytest.mark.skipif(SANITIZER is not None or not can_trace(), reason="needs strace, and a program that is quick under it")


def command(*argv, status=0, before=(), **options):
    done = subprocess.run([*before, SEQMSED, *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 * PATIENCE,
                          check=False, **options)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def restore(archive, folder):
    """As the README says: tar, and a daemon over the folder."""
    (folder / "state").mkdir(parents=True)
    subprocess.run(["tar", "xf", str(archive), "-C", str(folder / "state")], check=True)
    return Daemon(folder)


def change(daemon, sql, *values):
    with contextlib.closing(sqlite3.connect(daemon.state / "seqmsed.db", timeout=10)) as d, d:
        return d.execute(sql, values).rowcount


# ---- backups ----

def test_keys_come_along(start, tmp_path):
    """A state that came back without its keys would let everybody in."""
    daemon = start()
    key = command("key", "add", "ann", "--scope", "read", "--state-dir", daemon.state).stdout.split()[0]
    command("backup", tmp_path / "backup.tar", "--state-dir", daemon.state)
    again = restore(tmp_path / "backup.tar", tmp_path / "again")
    again.start()
    try:
        assert again.get("/v1/jobs").status == 401
        assert again.get("/v1/jobs", Authorization=f"Bearer {key}").status == 200
    finally:
        again.close()


@pytest.mark.seconds(120)
def test_backup_of_a_busy_daemon_and_back(start, long_calib, reference, tmp_path):
    daemon = start("--workers", "1")
    model, calibration, long_id = daemon.model(), daemon.calibration(), daemon.calibration(long_calib)
    done = daemon.job(model, calibration)
    daemon.succeed(done)
    running, queued = daemon.job(model, long_id), daemon.job(model, calibration, num_candidates=7)
    daemon.running(running)
    archive = tmp_path / "backup.tar"
    says = command("backup", archive, "--state-dir", daemon.state).stdout
    assert sorted(p.name for p in tmp_path.glob("backup.tar*")) == ["backup.tar"]
    with tarfile.open(archive) as t:
        assert all(m.isreg() and m.mode == 0o600 for m in t) and f"{len(t.getmembers())} files" in says
    # The daemon has not noticed.
    daemon.succeed(running)
    daemon.succeed(queued)
    expected = daemon.encodings(running)
    assert expected == reference(MODEL, long_calib)
    # Back: what was done is there, what ran goes on, to the same bytes.
    other = restore(archive, tmp_path / "other")
    assert {p.name for p in other.state.iterdir()} == {"seqmsed.db", "blobs"}
    other.start("--workers", "1")
    assert other.encodings(done) == daemon.encodings(done)
    for job in (running, queued):
        other.succeed(job)
        assert other.encodings(job) == daemon.encodings(job)
    assert other.get(f"/v1/models/{model}/content").body == MODEL.read_bytes()
    assert other.stop()[0] == 0
    assert other.check_consistent() == 0
    other.check_stderr()


@pytest.mark.seconds(120)
def test_backups_while_everything_changes(start, tmp_path):
    """Uploads, jobs and deletions go on; each backup is whole all the same."""
    daemon = start("--workers", "2")
    calibration, backups = daemon.calibration(), []
    for i in range(4):
        data = MODEL.read_bytes() + b"\x32\x03" + b"%03d" % i  # a doc_string, so that the digest is another one
        model = daemon.model(data)
        job = daemon.job(model, calibration, num_candidates=2)
        with subprocess.Popen([SEQMSED, "backup", str(tmp_path / f"{i}.tar"), "--state-dir", str(daemon.state)]) as process:
            daemon.succeed(job)
            assert daemon.request("DELETE", f"/v1/jobs/{job}").status == 204
            assert daemon.request("DELETE", f"/v1/models/{model}").status == 204
        assert process.returncode == 0
        backups.append(tmp_path / f"{i}.tar")
    for archive in backups:
        other = restore(archive, tmp_path / archive.stem)
        with contextlib.closing(other.database()) as d:
            used = {sha for (sha,) in d.execute("SELECT sha256 FROM blob_uses")}
        assert used == {p.name for p in (other.state / "blobs").rglob("*") if p.is_file()}
        other.start()
        assert other.stop()[0] == 0
        other.check_consistent()
    assert daemon.stop()[0] == 0
    daemon.start()  # files that a backup held back are swept
    assert daemon.stop()[0] == 0
    daemon.check_consistent()


def test_backup_finds_damage(daemon, tmp_path):
    daemon.model()
    blob = next(p for p in (daemon.state / "blobs").rglob("*") if p.is_file())
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert "damaged" in command("backup", tmp_path / "b.tar", "--state-dir", daemon.state, status=1).stderr
    assert list(tmp_path.glob("b.tar*")) == []


@quick
def test_names_are_put_on_the_disk(tmp_path):
    """A power loss takes a new name away as long as its folder is not synced: the state folder's and its parents', and the archive's."""
    calls, state, archive = tmp_path / "calls", tmp_path / "a/b/state", tmp_path / "backup.tar"
    trace = ["strace", "-f", "-y", "-qq", "-o", str(calls), "-e", "trace=mkdir,rename,fsync"]

    def after(call):
        """The folder that is synced first after a call that did something."""
        lines = calls.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if call in line and line.endswith("= 0"))
        return next(line for line in lines[at:] if " fsync(" in line).partition("<")[2].partition(">")[0]
    command("migrate", "--state-dir", state, before=trace)
    for folder in (tmp_path / "a", tmp_path / "a/b", state):
        assert after(f'mkdir("{folder}"') == str(folder.parent)
    command("backup", archive, "--state-dir", state, before=trace)
    assert after(f'"{archive}")') == str(tmp_path)
    # And where that fails, it says so.
    def failing(n):
        return [*trace[:-1], "trace=fsync", "-e", f"inject=fsync:error=EIO:when={n}"]
    failed = command("migrate", "--state-dir", tmp_path / "c/state", status=1, before=failing(1))
    assert "making the folder" in failed.stderr and not (tmp_path / "c").exists()
    failed = command("backup", archive, "--state-dir", state, status=1, before=failing(2))
    assert "syncing its folder" in failed.stderr


def test_backup_refusals(tmp_path, daemon):
    assert "needs the name" in command("backup", status=2).stderr
    assert "No such file" in command("backup", tmp_path / "b.tar", "--state-dir", tmp_path / "none", status=1).stderr
    assert "No such file" in command("backup", tmp_path / "none/b.tar", "--state-dir", daemon.state, status=1).stderr
    assert "tar xf" in command("backup", "--help").stdout


# ---- what is forgotten ----

def test_old_jobs_and_uploads_are_forgotten(start):
    daemon = start()
    model, calibration = daemon.model(), daemon.calibration()
    old, young = daemon.job(model, calibration, num_candidates=2), daemon.job(model, calibration, num_candidates=3)
    daemon.succeed(old)
    daemon.succeed(young)
    unused = daemon.model(TOP / "tests/data/zoo/conv1d.onnx")
    change(daemon, "UPDATE jobs SET finished_at = finished_at - ? WHERE id = ?", 31 * DAY_MS, old)
    change(daemon, "UPDATE models SET created_at = created_at - ?", 31 * DAY_MS)
    assert daemon.stop()[0] == 0
    daemon.start("--keep-job-days", "30", "--keep-upload-days", "30")
    until(lambda: daemon.get(f"/v1/jobs/{old}").status == 404 and daemon.get(f"/v1/models/{unused}").status == 404, "old things are forgotten")
    assert daemon.json(f"/v1/jobs/{young}")["status"] == "succeeded" and daemon.get(f"/v1/models/{model}").status == 200
    assert daemon.stop()[0] == 0
    daemon.check_consistent()


def test_gc(start):
    daemon = start()
    model, calibration = daemon.model(), daemon.calibration()
    job = daemon.job(model, calibration, num_candidates=2)
    daemon.succeed(job)
    assert "another seqmsed" in command("gc", "--state-dir", daemon.state, status=1).stderr
    change(daemon, "UPDATE jobs SET finished_at = finished_at - ?", 2 * DAY_MS)
    assert daemon.stop()[0] == 0
    (daemon.state / "parts/left").write_bytes(b"by a killed daemon")
    says = command("gc", "--state-dir", daemon.state).stdout
    assert says == "0 jobs, 0 models, 0 calibrations, 0 encodings, 1 files removed\n"
    assert command("gc", "--state-dir", daemon.state, "--keep-job-days", "1").stdout == "1 jobs, 0 models, 0 calibrations, 0 encodings, 0 files removed\n"
    assert daemon.check_consistent() == 0
    daemon.start()
    assert daemon.get(f"/v1/jobs/{job}").status == 404 and daemon.get(f"/v1/models/{model}").status == 200


# ---- disks forget, too ----

@pytest.mark.parametrize("kind", ["model", "calibration"])
def test_a_damaged_input_is_noticed(daemon, kind):
    daemon.may_log_errors = True
    model, calibration = daemon.model(), daemon.calibration()
    sha = daemon.json(f"/v1/models/{model}" if kind == "model" else f"/v1/calibrations/{calibration}")["sha256"]
    blob = daemon.state / "blobs" / sha[:2] / sha
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1  # a weight, or a pixel: nothing that a parser would mind
    blob.write_bytes(data)
    j = daemon.wait(daemon.job(model, calibration, num_candidates=2))
    assert (j["status"], j["error"]["code"], j["attempt"]) == ("failed", "internal", 1) and "damaged" in j["error"]["detail"], j
    assert "damaged" in daemon.stderr()


# ---- migrations ----

def old_state(folder):
    """A state folder of the first version, with a model, a calibration and a job."""
    state = folder / "state"
    state.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(state / "seqmsed.db")) as d, d:
        d.executescript("PRAGMA journal_mode=wal; CREATE TABLE schema_migrations(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)"
                        " STRICT;" + (TOP / "migrations/0001_start.sql").read_text() + "INSERT INTO schema_migrations VALUES (1, 'start', 0);")
        d.execute("INSERT INTO jobs(id, name, labels, status, model_id, model_sha256, calibration_id, calibration_sha256, samples, samples_used, params,"
                  " created_at) VALUES ('job_1', 'old', '{}', 'failed', 'mdl_1', 'a', 'cal_1', 'b', 8, 8, '{}', 1)")
        d.execute("INSERT INTO job_layers VALUES ('job_1', 0, 1, 'n', 'Conv', 'w', 1, 9, 'gram', 0, 0.5, 1, 2, '[3]', x'00')")
        d.execute("INSERT INTO events VALUES ('job_1', 1, 1, 'status', '{}')")
    return state


def schema(state):
    """What is there: the applied migrations, the tables' texts, and the old rows."""
    with contextlib.closing(sqlite3.connect(state / "seqmsed.db")) as d:
        assert d.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and d.execute("PRAGMA foreign_key_check").fetchall() == []
        rows = [d.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("jobs", "job_layers", "events")]
        return ([n for (n,) in d.execute("SELECT number FROM schema_migrations ORDER BY number")],
                sorted(s for (s,) in d.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")), rows)


def test_migrate_an_old_state(tmp_path):
    state = old_state(tmp_path)
    says = command("migrate", "--state-dir", state).stdout
    numbers, tables, rows = schema(state)
    assert says == f"schema {numbers[-1]}\n" and rows == [1, 1, 1]
    fresh = tmp_path / "fresh"
    command("migrate", "--state-dir", fresh)
    assert schema(fresh)[:2] == (numbers, tables)  # the same, however one came there


@pytest.mark.seconds(180)
@pytest.mark.skipif(SANITIZER is not None or not shutil.which("strace"), reason="needs strace, and a program that is quick under it")
def test_killed_at_every_step_of_a_migration(tmp_path):
    """At each write, cut and sync: what is left is the schema of some migration, and the next start finishes."""
    finished = schema_of_all = None
    kills, seen = 0, set()
    for call in ("pwrite64", "fdatasync", "ftruncate"):
        for n in range(1, 400):
            state = old_state(tmp_path / f"{call}{n}")
            done = subprocess.run(["strace", "-qq", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}", SEQMSED,
                                   "migrate", "--state-dir", str(state)], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
            left = schema(state)
            assert left[2] == [1, 1, 1]
            seen.add(tuple(left[0]))
            command("migrate", "--state-dir", state)
            finished = schema(state)
            schema_of_all = schema_of_all or finished
            assert finished == schema_of_all
            shutil.rmtree(state.parent)
            if done.returncode == 0:
                break
            kills += 1
    print(f"{kills} kills, schemas left: {sorted(seen)}")
    assert kills > 10 and (1,) in seen and all(list(s) == schema_of_all[0][:len(s)] for s in seen)


def test_backup_that_is_killed_leaves_nothing_under_its_name(daemon, tmp_path):
    if SANITIZER or not shutil.which("strace"):
        pytest.skip("needs strace, and a program that is quick under it")
    daemon.model()
    for n in (1, 3, 6):
        done = subprocess.run(["strace", "-qq", "-f", "-o", "/dev/null", "-e", "trace=write", "-e", f"inject=write:signal=KILL:when={n}", SEQMSED, "backup",
                               str(tmp_path / "b.tar"), "--state-dir", str(daemon.state)], capture_output=True, timeout=60, check=False)
        assert done.returncode != 0 and not (tmp_path / "b.tar").exists()
    command("backup", tmp_path / "b.tar", "--state-dir", daemon.state)
    assert [p.name for p in tmp_path.glob("b.tar*")] == ["b.tar"] and tarfile.is_tarfile(tmp_path / "b.tar")
