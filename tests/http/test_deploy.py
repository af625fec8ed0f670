"""What is shipped for operators: the systemd unit's exposure, and the proxies' configurations, started for real."""
import hashlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess

import pytest

from daemon import CALIB, MODEL, TOP, until

NAME = "quant.example.org"
DOCKER = TOP / "docker"


def test_exposure_of_the_unit():
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", str(DOCKER / "seqmsed.service")], capture_output=True,
                          text=True, timeout=60, check=False)
    exposure = re.search(r"Overall exposure level for seqmsed.service: ([0-9.]+)", done.stdout)
    assert done.returncode == 0 and float(exposure[1]) <= 1.5, done.stdout + done.stderr
    bare = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", "/dev/stdin"], input="[Service]\nExecStart=/bin/true\n",
                          capture_output=True, text=True, timeout=60, check=False)
    assert bare.returncode != 0  # it can fail


def test_the_unit_is_sound():
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    done = subprocess.run(["systemd-analyze", "verify", str(DOCKER / "seqmsed.service")], capture_output=True, text=True, timeout=60, check=False)
    complaints = [x for x in done.stderr.splitlines() if "seqmsed.service" in x and "not executable" not in x]  # it is not installed here
    assert complaints == []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(name="certificate", scope="session")
def fixture_certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-addext",
                    f"subjectAltName=DNS:{NAME}", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")], check=True, capture_output=True)
    (folder / "both.pem").write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return folder


class Proxy:
    def __init__(self, port, certificate):
        self.port = port
        self.context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))

    def socket(self):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self.context.wrap_socket(raw, server_hostname=NAME)

    def raw(self, data):
        """The first bytes of the answer; b"" where the connection is just closed."""
        with self.socket() as s:
            s.sendall(data)
            try:
                return s.recv(4096)
            except ConnectionResetError:
                return b""

    def request(self, method, target, body=None, headers=None):
        c = http.client.HTTPSConnection(NAME, self.port, context=self.context, timeout=60)
        c.sock = self.socket()
        try:
            c.request(method, target, body, {"Host": NAME} | (headers or {}))
            r = c.getresponse()
            return r.status, r.headers, r.read()
        finally:
            c.close()


def nginx(folder, port, upstream, certificate):
    text = (DOCKER / "nginx.conf").read_text()
    for old, new in (("user www-data;", "daemon off;"), ("/run/nginx.pid", f"{folder}/pid"), ("/var/log/nginx/access.log", f"{folder}/access.log"),
                     ("/var/log/nginx/error.log", f"{folder}/error.log"), ("127.0.0.1:8080", f"127.0.0.1:{upstream}"), ("443 ssl", f"127.0.0.1:{port} ssl"),
                     ("/etc/seqmsed/", f"{certificate}/")):
        assert old in text
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def haproxy(folder, port, upstream, certificate):
    text = (DOCKER / "haproxy.cfg").read_text()
    for old, new in (("127.0.0.1:8080", f"127.0.0.1:{upstream}"), ("bind :443", f"bind 127.0.0.1:{port}"), ("/etc/seqmsed/", f"{certificate}/")):
        assert old in text
        text = text.replace(old, new)
    (folder / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


@pytest.fixture(name="proxy", params=[nginx, haproxy], ids=["nginx", "haproxy"])
def fixture_proxy(request, start, certificate, tmp_path):
    make = request.param
    if not shutil.which(make.__name__):
        pytest.skip(f"needs {make.__name__}")
    daemon = start("--allowed-hosts", NAME)
    folder, port = tmp_path / "proxy", free_port()
    folder.mkdir()
    with open(folder / "stderr", "wb") as log, subprocess.Popen(make(folder, port, daemon.port, certificate), stdin=subprocess.DEVNULL, stdout=log,
                                                                  stderr=log) as process:
        proxy = Proxy(port, certificate)

        def is_up():
            assert process.poll() is None, (folder / "stderr").read_text()
            try:
                return proxy.request("GET", "/livez")[0] == 200
            except OSError:
                return False
        until(is_up, f"{make.__name__} answers")
        yield proxy
        process.terminate()
        process.wait(20)


@pytest.mark.seconds(120)
def test_a_session_through_a_proxy(proxy, reference):
    status, _, body = proxy.request("PUT", "/v1/models", MODEL.read_bytes())
    assert status == 201, body
    model = json.loads(body)["id"]
    data = CALIB.read_bytes()
    status, _, body = proxy.request("PUT", "/v1/calibrations", iter([data[i:i + 50000] for i in range(0, len(data), 50000)]))  # chunked
    assert status == 201, body
    calibration = json.loads(body)["id"]
    status, _, body = proxy.request("POST", "/v1/jobs", json.dumps({"model": model, "calibration": calibration}), {"Content-Type": "application/json"})
    assert status == 202, body
    job = json.loads(body)["id"]
    status, _, body = proxy.request("GET", f"/v1/jobs/{job}?wait=60")
    assert json.loads(body)["status"] == "succeeded", body
    status, headers, body = proxy.request("GET", f"/v1/jobs/{job}/encodings?version=1.0.0")
    assert status == 200 and body == reference() and headers["Strict-Transport-Security"]
    status, _, part = proxy.request("GET", f"/v1/jobs/{job}/encodings?version=1.0.0", headers={"Range": "bytes=10-19"})
    assert status == 206 and part == body[10:20]
    assert proxy.request("GET", f"/v1/jobs/{job}/encodings?version=1.0.0", headers={"If-None-Match": headers["ETag"]})[0] == 304
    assert proxy.request("GET", f"/v1/jobs/{job}", headers={"Origin": "https://evil.example.com"})[0] == 403
    assert proxy.request("GET", f"/v1/jobs/{job}", headers={"Origin": f"https://{NAME}"})[0] == 200


@pytest.mark.seconds(120)
def test_a_large_upload_through_a_proxy(proxy):
    """64 MB, not an ONNX: the daemon's own answer comes back, after all of it went through."""
    block = hashlib.sha256(b"x").digest() * (1 << 15)
    status, headers, body = proxy.request("PUT", "/v1/models", iter([block] * 64), {"Content-Length": str(64 * len(block))})
    assert status == 422 and headers["Content-Type"] == "application/problem+json" and json.loads(body)["code"] == "not-an-onnx"


def test_what_a_proxy_refuses(proxy):
    host = f"Host: {NAME}\r\n".encode()
    smuggled = (b"POST /v1/jobs HTTP/1.1\r\n" + host + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
                b"POST /v1/jobs HTTP/1.1\r\n" + host + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
                b"GET /livez HTTP/1.1\r\n" + host + b"X: a\0b\r\n\r\n", b"GET /livez HTTP/1.1\r\n" + host + b"Bad Name: x\r\n\r\n",
                b"GET /livez HTTP/1.1\r\nHost: other.example.org\r\n\r\n", b"GET /livez HTTP/1.1\r\n\r\n")
    for data in smuggled:
        answer = proxy.raw(data)
        assert not answer or re.match(rb"HTTP/1\.[01] (4\d\d|501) ", answer), (data, answer)
    assert proxy.request("GET", "/livez")[0] == 200
