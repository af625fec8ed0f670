"""Calibration data that is no .npz: the same numbers give the same encodings, to the last byte; and what cannot be read is refused with a reason."""
import json
import re

import numpy
import pytest

import data_forms
from data_forms import DIGITS, LINE

MODEL = DIGITS / "model.onnx"


@pytest.fixture(name="encodings")
def fixture_encodings(run, tmp_path):
    def start(data, *flags):
        done = run("quantize", MODEL, data, "-o", tmp_path / "out", "--num-batches", "2", *flags)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "out/model.encodings").read_bytes(), json.loads((tmp_path / "out/report.json").read_text())
    return start


@pytest.fixture(name="wrong")
def fixture_wrong(run, tmp_path):
    """wrong(name, bytes, text, *flags): refused in one line that has the text."""
    def start(name, content, text, *flags, status=1):
        (tmp_path / name).write_bytes(content)
        done = run("quantize", MODEL, tmp_path / name, "-o", tmp_path / "out", *flags)
        assert done.returncode == status, done.stderr
        assert text in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        assert not (tmp_path / "out").exists()
    return start


def test_every_form_gives_the_npz_s_encodings(encodings, tmp_path):
    want, _ = encodings(DIGITS / "calib.npz")
    x = data_forms.images()
    for name, content, flags in data_forms.forms(x):
        (tmp_path / name).write_bytes(content)
        got, _ = encodings(tmp_path / name, *flags)
        assert got == want, name


def test_bfloat16_is_float32_s_upper_half(encodings, tmp_path):
    x = (data_forms.images() / 3).astype("float32")
    (tmp_path / "b.safetensors").write_bytes(data_forms.safetensors(image=data_forms.bfloat16(x)))
    cut = (x.view("uint32") & 0xffff0000).view("float32")
    assert (cut != x).any()
    numpy.savez(tmp_path / "f.npz", image=cut)
    assert encodings(tmp_path / "b.safetensors")[0] == encodings(tmp_path / "f.npz")[0]


def test_a_folder_of_images_is_its_zip(encodings, tmp_path):
    x = data_forms.images()
    files = data_forms.image_files(x)
    (tmp_path / "photos/later").mkdir(parents=True)
    (tmp_path / "photos/notes.txt").write_text("not an image")
    for name, content in files[:200]:
        (tmp_path / "photos" / name).write_bytes(content)
    for name, content in files[200:]:
        (tmp_path / "photos/later" / name).write_bytes(content)
    (tmp_path / "photos.zip").write_bytes(data_forms.zipped(files[:200] + [("later/" + name, content) for name, content in files[200:]]))
    want, report = encodings(DIGITS / "calib.npz")
    got, folder = encodings(tmp_path / "photos", "--preprocess", LINE)
    zipped, archive = encodings(tmp_path / "photos.zip", "--preprocess", LINE)
    assert got == want == zipped
    assert folder["fingerprint"] == archive["fingerprint"] != report["fingerprint"]


def test_integers_in_test_sets_are_read_from_either_field(run, tmp_path):
    import onnx_bytes
    ids = numpy.arange(-3, 9).reshape(6, 2)
    typed = (onnx_bytes.field(1, [6, 2]) + onnx_bytes.field(2, onnx_bytes.INT64) +
             onnx_bytes.field(7, b"".join(onnx_bytes.varint(int(v)) for v in ids.ravel())))
    raw = onnx_bytes.tensor("", ids.astype("int64"))
    (tmp_path / "a.tar").write_bytes(data_forms.tar([("test_data_set_0/input_0.pb", typed)]))
    (tmp_path / "b.tar").write_bytes(data_forms.tar([("test_data_set_0/input_0.pb", raw)]))
    words = [run("quantize", MODEL, tmp_path / name, "-o", tmp_path / "out").stderr.replace(name, "") for name in ("a.tar", "b.tar")]
    assert words[0] == words[1] and "(6, 2)" in words[0], words


def test_safetensors_that_are_damaged(wrong):
    x = data_forms.images()[:4]
    good = data_forms.safetensors(image=x)
    wrong("a.safetensors", good[:-1], "declares more bytes than the file has")
    wrong("b.safetensors", good + b"\0", "bytes that belong to none")
    wrong("c.safetensors", good.replace(b"[4, 1, 8, 8]", b"[4, 1, 8, 9]"), "declares 1152 bytes of data and has 1024")
    wrong("d.safetensors", good.replace(b'"F32"', b'"F3"}'), "its header")
    wrong("e.safetensors", good.replace(b'"F32"', b'"X32"'), "X32")
    wrong("f.safetensors", b"\xff\xff\xff\x7f\0\0\0\0{}", "too long")


def test_test_sets_that_are_damaged(wrong):
    x = data_forms.images()[:4]
    good = data_forms.test_sets([[x]])
    wrong("a.tar", good[:1024 * 3], "")
    wrong("b.tar", good.replace(b"ustar", b"ustar", 1).replace(b"input_0", b"input_1"), "")
    wrong("c.tar", data_forms.tar([("x.txt", b"x")]), "holds no test_data_set_N/input_0.pb")
    wrong("d.tar", data_forms.test_sets([[x], [x[:, :, :4]]]), "has another type or other dimensions")
    wrong("e.tar", data_forms.test_sets([[x, x], [x]]), "a test set without one of the inputs")
    wrong("h.tar", data_forms.tar(2 * [("test_data_set_0/input_0.pb", data_forms.onnx_bytes.tensor("", x))]), "there twice")
    wrong("f.tar", data_forms.tar([("test_data_set_0/input_0.pb", b"\x08\x04" + b"\xff" * 20)]), "test_data_set_0/input_0.pb: is damaged")
    wrong("g.tar.gz", b"\x1f\x8b\x08" + bytes(20), "unpack it first (gunzip)")


def test_images_need_a_line_and_a_right_one(wrong):
    content = data_forms.zipped(data_forms.image_files(data_forms.images()[:4]))
    wrong("a.zip", content, "images become numbers by the setting preprocess")
    wrong("b.zip", content, "\"grey\" is not known; there are resize, crop, filter, color, scale, mean, std and layout", "--preprocess", "grey=1", status=2)
    wrong("c.zip", content, "expected (?, 1, 8, 8), the array is (4, 3, 8, 8)", "--preprocess", "scale=1/16")
    wrong("d.zip", content, "fewer than the crop of 9 x 9", "--preprocess", "crop=9")
    wrong("e.npz", (DIGITS / "calib.npz").read_bytes(), "preprocess is for images", "--preprocess", LINE)
    wrong("f.png", data_forms.image_files(data_forms.images()[:1])[0][1], "put your images into a folder, or a .zip", "--preprocess", LINE)
    damaged = data_forms.image_files(data_forms.images()[:2])
    damaged[1] = (damaged[1][0], damaged[1][1][:-20])
    wrong("g.zip", data_forms.zipped(damaged), "0001.png", "--preprocess", LINE)


def test_readmes_line_makes_a_classifiers_input(wrong):
    """The sample has another input; that it says so shows what the line made of the pictures."""
    line = re.search(r"photos/ -o out --preprocess (\S+)", (data_forms.TOP / "README.md").read_text())[1]
    content = (data_forms.TOP / "tests/data/images/images.zip").read_bytes()
    wrong("photos.zip", content, "the array is (8, 3, 224, 224)", "--preprocess", line)
