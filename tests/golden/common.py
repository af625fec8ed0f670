"""What the golden tests share: running `seqmsed quantize`, and reading encodings."""
import json
import os
import pathlib
import subprocess

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SEQMSED = os.environ.get("SEQMSED", str(TOP / "build/seqmsed"))


class Failure(Exception):
    """A program ended badly; the text is what it printed."""


def seqmsed(*argv):
    """Runs our binary and returns what it printed."""
    argv = [SEQMSED, *map(str, argv)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(argv)}\nexit status {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout.decode()


def flags(settings):
    """{"param_bw": 4} as ["--param-bw", 4]; settings that are None are left out."""
    return [word for key, value in settings.items() if value is not None for word in ("--" + key.replace("_", "-"), value)]


def quantize(model, calib, out, **settings):
    """quantize(m, c, d, param_bw=4) runs `seqmsed quantize m c -o d --param-bw 4 --quiet`."""
    seqmsed("quantize", model, calib, "-o", out, "--quiet", *flags(settings))


def load(path):
    return json.loads(pathlib.Path(path).read_text())


def param_encodings(path):
    """{tensor name: its encoding} of an encodings file of version 0.6.1 or 1.0.0."""
    params = load(path)["param_encodings"]
    return params if isinstance(params, dict) else {p["name"]: p for p in params}


def searched(folder):
    """Of the encodings that `seqmsed quantize` left in a folder, those of the weights that it searched: {name: encoding}."""
    wanted = {layer["weight"] for layer in load(folder / "report.json")["layers"]}
    return {name: e for name, e in param_encodings(folder / "model.encodings").items() if name in wanted}


def searched_file(folder):
    """The same as an encodings file, for `seqmsed compare`."""
    whole, path = load(folder / "model.encodings"), folder / "searched.encodings"
    path.write_text(json.dumps(dict(whole, activation_encodings=[], param_encodings=list(searched(folder).values()))))
    return path
