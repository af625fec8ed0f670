"""The sample's calibration data in every form that is read, written byte by byte: the tests need no package but numpy."""
import io
import json
import pathlib
import struct
import tarfile
import zipfile
import zlib

import numpy

import onnx_bytes

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
DIGITS = TOP / "tests/data/digits"
LINE = "color=gray,scale=1/16"  # the sample's pixels are 0, 1/16, 2/16, …, 1


def images():
    return numpy.load(DIGITS / "calib.npz")["image"]


DTYPES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "uint8": "U8"}


def bfloat16(x):
    """The upper halves of float32 numbers, as an array of records that safetensors() writes as BF16."""
    return (x.astype("float32").view("uint32") >> 16).astype("uint16").view([("bfloat16", "<u2")])


def safetensors(**arrays):
    header, data = {"__metadata__": {"format": "np"}}, b""
    for name, a in arrays.items():
        header[name] = {"dtype": "BF16" if a.dtype.names else DTYPES[a.dtype.name], "shape": list(a.shape), "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 0.5  # has it write a pax header before every file
            t.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_sets(batches, folder="model/"):
    """As a model zoo ships them: the model, and a folder for every set, here in the wrong order."""
    files = [(folder + "model.onnx", b"not looked at")]
    for n, batch in reversed(list(enumerate(batches))):
        files.append((f"{folder}test_data_set_{n}/output_0.pb", b"not looked at"))
        files += [(f"{folder}test_data_set_{n}/input_{m}.pb", onnx_bytes.tensor("", a)) for m, a in enumerate(batch)]
    return tar(files)


def png(pixels):
    """A gray PNG of [height, width] uint8."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def image_files(x):
    return [(f"{i:04}.png", png(numpy.rint(sample[0] * 16).astype("uint8"))) for i, sample in enumerate(x)]


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in files:
            z.writestr(zipfile.ZipInfo(name), content, compress_type=zipfile.ZIP_DEFLATED)
    return out.getvalue()


def forms(x):
    """(name of the file, its bytes, flags) for every form but a folder."""
    yield "calib.safetensors", safetensors(image=x, unused=numpy.zeros(len(x), "int64")), ()
    yield "calib.tar", test_sets([[x[i:i + 50]] for i in range(0, len(x), 50)]), ()
    yield "calib.zip", zipped(image_files(x)), ("--preprocess", LINE)
