import resource
import signal

import numpy
import pytest

from daemon import CALIB, MODEL, PATIENCE, SLOW, Daemon, quantize


def pytest_configure(config):
    config.addinivalue_line("markers", "seconds(n): how long the test may take in a release build; 60 when it does not say")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)  # thousands of connections, at both ends


@pytest.fixture(autouse=True)
def _deadline(request):
    """A test that hangs fails."""
    marker = request.node.get_closest_marker("seconds")
    seconds = (marker.args[0] if marker else 60) * PATIENCE

    def late(_number, _frame):
        raise TimeoutError(f"the test took more than {seconds} s")
    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(int(seconds))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture(name="start")
def fixture_start(tmp_path):
    """start(*flags) gives a daemon with a fresh state folder; all end with the test."""
    started = []

    def start(*flags):
        folder = tmp_path / f"daemon{len(started)}"
        folder.mkdir()
        started.append(Daemon(folder, *flags))
        return started[-1].start()
    yield start
    failures = []
    for d in started:
        try:
            d.close()
        except BaseException as e:  # pylint: disable=broad-except
            failures.append(e)
    if failures:
        raise failures[0]


@pytest.fixture(name="daemon")
def fixture_daemon(start):
    return start()


@pytest.fixture(name="standing", scope="module")
def fixture_standing(tmp_path_factory):
    """One daemon for all tests of a file that only look, or are refused. With a model, a calibration, and a job that is done."""
    d = Daemon(tmp_path_factory.mktemp("standing"))
    d.start()
    try:
        d.model_id, d.calibration_id = d.model(), d.calibration()
        d.job_id = d.job(d.model_id, d.calibration_id)
        d.succeed(d.job_id)
        yield d
    finally:
        d.close()


@pytest.fixture(name="long_calib", scope="session")
def fixture_long_calib(tmp_path_factory):
    """The sample's data, noisy and many times over: a search that takes a few seconds, so that one can meet it at work."""
    images = numpy.load(CALIB)["image"]
    random = numpy.random.default_rng(1)
    n = max(1000, 50000 // SLOW)
    noisy = images[random.integers(0, len(images), n)] + random.normal(0, 0.1, (n, *images.shape[1:]))
    path = tmp_path_factory.mktemp("long") / "calib.npz"
    numpy.savez(path, image=noisy.astype("float32"))
    return path


@pytest.fixture(name="reference", scope="session")
def fixture_reference(tmp_path_factory):
    """reference(model, calib, version, **params): the command line's encodings, made once."""
    made = {}

    def reference(model=MODEL, calib=CALIB, version="1.0.0", **params):
        key = (str(model), str(calib), version, tuple(sorted(params.items())))
        if key not in made:
            made[key] = quantize(tmp_path_factory.mktemp("reference"), model, calib, version, **params)
        return made[key]
    return reference
