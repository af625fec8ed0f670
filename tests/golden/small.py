#!/usr/bin/env python3
"""The committed sample against the reference's encodings for it, digit by digit, and ours against ours: neither threads nor the
memory budget may change a byte. Ends with `golden: N passed, N failed, N skipped`."""
import json
import pathlib
import sys
import tempfile

import common

DIGITS = common.TOP / "tests/data/digits"
SETTINGS = {"param_bw": 4, "batch_size": 32}


def run(folder, **settings):
    common.quantize(DIGITS / "model.onnx", DIGITS / "calib.npz", folder, **SETTINGS, **settings)
    return folder / "model.encodings"


def channels(encoding):
    """An encoding of either version as a list with one entry a channel, whatever holds for all of them repeated."""
    if isinstance(encoding, list):
        return encoding
    common_part = {k: v for k, v in encoding.items() if not isinstance(v, list)}
    lists = {k: v for k, v in encoding.items() if isinstance(v, list)}
    return [dict(common_part, **dict(zip(lists, values))) for values in zip(*lists.values())]


def differences(ours, theirs):
    """One line for each weight whose encoding is not the reference's."""
    for name in sorted(set(ours) | set(theirs)):
        if name not in ours or name not in theirs:
            yield f"{name}: only {'ours' if name in ours else 'the reference'} has it"
        elif ours[name] != theirs[name]:
            a, b = channels(ours[name]), channels(theirs[name])
            first = next((c for c, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            yield f"{name}, first in channel {first}: ours {a[first:first + 1]}, the reference {b[first:first + 1]}"


def matches_reference(tmp, version):
    file = run(tmp, encoding_version=version)
    golden = DIGITS / "golden" / f"model_{version.replace('.', '_')}.encodings"
    return list(differences(common.param_encodings(file), common.param_encodings(golden)))


def matches_other_loss(tmp, loss):
    return list(differences(common.param_encodings(run(tmp, loss_fn=loss)), common.param_encodings(DIGITS / f"golden/{loss}_1_0_0.encodings")))


BLOCKS = {"match": {"op_type": "Gemm"}, "granularity": "block", "block_size": 64}
KINDS = {
    "per_tensor": {"granularity": "per_tensor"},
    "strict": {"config": DIGITS / "golden/strict.json"},
    "asymmetric": {"config": DIGITS / "golden/asymmetric.json"},
    "block": {"overrides": json.dumps([BLOCKS])},
    "lpbq": {"overrides": json.dumps([dict(BLOCKS, lpbq=True)])},
}


def matches_kind(tmp, kind):
    theirs = common.param_encodings(DIGITS / f"golden/{kind}_1_0_0.encodings")
    ours = common.param_encodings(run(tmp, **KINDS[kind]))
    return list(differences({name: ours[name] for name in theirs if name in ours}, theirs))


def same_bytes(tmp, **settings):
    plain, other = run(tmp / "plain", threads=1), run(tmp / "other", **settings)
    return [] if plain.read_bytes() == other.read_bytes() else [f"the encodings change with {settings}"]


TESTS = {
    "encodings 1.0.0 equal the reference's": lambda tmp: matches_reference(tmp, "1.0.0"),
    "encodings 0.6.1 equal the reference's": lambda tmp: matches_reference(tmp, "0.6.1"),
    "encodings with loss_fn l1 equal the reference's": lambda tmp: matches_other_loss(tmp, "l1"),
    "encodings with loss_fn sqnr equal the reference's": lambda tmp: matches_other_loss(tmp, "sqnr"),
    **{f"grids of kind {kind} equal the reference's": lambda tmp, kind=kind: matches_kind(tmp, kind) for kind in KINDS},
    "threads change nothing": lambda tmp: same_bytes(tmp, threads=3),
    "the memory budget changes nothing": lambda tmp: same_bytes(tmp, threads=2, max_memory_bytes="200K"),
}


def main():
    failed = 0
    for name, test in TESTS.items():
        with tempfile.TemporaryDirectory() as tmp:
            try:
                faults = test(pathlib.Path(tmp))
            except (common.Failure, OSError, KeyError, ValueError) as e:
                faults = [f"{type(e).__name__}: {e}"]
        failed += bool(faults)
        print(f"{'FAILED' if faults else 'ok':<7}{name}")
        for fault in faults:
            print(f"    {fault}")
    print(f"golden: {len(TESTS) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
