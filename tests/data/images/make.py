"""Makes images.zip and the expected numbers, *.npz, with Pillow and numpy: what torchvision's Resize, CenterCrop, ToTensor and Normalize compute, written out.

    python3 tests/data/images/make.py        # needs Pillow; made with 13.0.0
"""
import io
import pathlib
import zipfile

import numpy
from PIL import Image

HERE = pathlib.Path(__file__).parent


def picture(seed, height, width):
    """Gradients, edges and noise in three channels."""
    random = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[:height, :width]
    base = numpy.stack([x * 255 / width, y * 255 / height, ((x // 7 + y // 5) % 2) * 200], axis=-1)
    return Image.fromarray((base + random.integers(0, 56, base.shape)).clip(0, 255).astype("uint8"))


def encoded(image, **options):
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def files():
    yield "a.jpg", encoded(picture(1, 61, 45), format="JPEG", quality=80)
    yield "b/progressive.JPEG", encoded(picture(2, 48, 80), format="JPEG", quality=90, progressive=True, subsampling=0)
    yield "c gray.jpg", encoded(picture(3, 50, 50).convert("L"), format="JPEG")
    yield "d.png", encoded(picture(4, 41, 67), format="PNG")
    alpha = picture(5, 44, 44).convert("RGBA")
    alpha.putalpha(Image.fromarray(numpy.random.default_rng(5).integers(0, 256, (44, 44)).astype("uint8")))
    yield "e alpha.png", encoded(alpha, format="PNG")
    yield "f palette.png", encoded(picture(6, 47, 40).convert("P", palette=Image.Palette.ADAPTIVE, colors=30), format="PNG")
    yield "g bits.png", encoded(picture(7, 40, 52).convert("1"), format="PNG")
    yield "h.png", encoded(picture(8, 43, 43).convert("LA"), format="PNG")
    yield "README.txt", b"not an image"
    yield ".hidden.png", b"not one either"


def shorter(image, n):
    w, h = image.size
    return (n * w // h, n) if h <= w else (n, n * h // w)


def crop(image, height, width):
    w, h = image.size
    left, top = round((w - width) / 2), round((h - height) / 2)
    return image.crop((left, top, left + width, top + height))


def classifier(image):
    """resize=32,crop=24,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"""
    image = image.convert("RGB")
    x = numpy.asarray(crop(image.resize(shorter(image, 32), Image.Resampling.BILINEAR), 24, 24), numpy.float32) / numpy.float32(255)
    x = (x - numpy.array([0.485, 0.456, 0.406], "float32")) / numpy.array([0.229, 0.224, 0.225], "float32")
    return x.transpose(2, 0, 1)


def raw(image):
    """resize=20x28,filter=bicubic,layout=nhwc,color=bgr,scale=1"""
    return numpy.asarray(image.convert("RGB").resize((28, 20), Image.Resampling.BICUBIC), numpy.float32)[:, :, ::-1]


def gray(image):
    """crop=40x50,resize=70,filter=bicubic,mean=0.5,std=0.25,color=gray"""
    image = image.convert("RGB").convert("L")
    x = numpy.asarray(crop(image.resize(shorter(image, 70), Image.Resampling.BICUBIC), 40, 50), numpy.float32) / numpy.float32(255)
    return ((x - numpy.float32(0.5)) / numpy.float32(0.25))[None]


def main():
    with zipfile.ZipFile(HERE / "images.zip", "w") as z:
        for i, (name, content) in enumerate(files()):
            z.writestr(zipfile.ZipInfo(name), content, compress_type=zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED)
    images = [Image.open(io.BytesIO(content)) for name, content in sorted(files()) if name[0] != "." and not name.endswith("txt")]
    for way in (classifier, raw, gray):
        numpy.savez_compressed(HERE / f"{way.__name__}.npz", images=numpy.stack([way(i) for i in images]))


if __name__ == "__main__":
    main()
