#!/usr/bin/env python3
"""The bill of materials of a built seqmsed, as CycloneDX 1.6 in JSON:

    docker/sbom.py build/seqmsed build/sbom.json      (`make sbom`)

Nothing in it is a list that somebody keeps: the program is run, once for a search and once as a client, and the dynamic linker says which libraries it loaded,
those included that it opens by itself. For each, the Debian package it is from gives version and licence. ONNX Runtime comes out of a wheel, and code generated of
onnx.proto is compiled in; both are added from what lies there. The same machine and program give the same bytes. Where the validator of
`make deps-dev` is there, the result is checked against the schema.
"""
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import uuid

TOP = pathlib.Path(__file__).resolve().parent.parent
DIGITS = TOP / "tests/data/digits"
ONNX_PROTO = pathlib.Path("/usr/include/onnx/onnx.proto")
# SPDX's identifiers for what Debian's copyright files say; other names are passed on as they are.
SPDX = {"Expat": "MIT", "MIT": "MIT", "BSD-2-clause": "BSD-2-Clause", "BSD-2-Clause": "BSD-2-Clause", "BSD-3-clause": "BSD-3-Clause", "BSD-3-Clause": "BSD-3-Clause",
        "Apache-2.0": "Apache-2.0", "Apache-2": "Apache-2.0", "GPL-2+": "GPL-2.0-or-later", "GPL-3+": "GPL-3.0-or-later", "LGPL-2+": "LGPL-2.0-or-later",
        "LGPL-2.1+": "LGPL-2.1-or-later", "LGPL-3+": "LGPL-3.0-or-later", "Zlib": "Zlib", "zlib": "Zlib", "ISC": "ISC", "curl": "curl", "GPL-2.0-or-later": "GPL-2.0-or-later"}


def output(*argv, **options):
    return subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, check=True, text=True, **options).stdout


def loaded(program):
    """Every library that the program loads in a search and as a client, by its real path."""
    found = set()
    with tempfile.TemporaryDirectory() as work:
        for argv, works in ((("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", f"{work}/out", "--quiet"), True),
                            (("list", "--server", "http://127.0.0.1:1"), False)):  # nobody is there; libcurl is loaded all the same
            env = dict(os.environ, LD_DEBUG="libs", LD_DEBUG_OUTPUT=f"{work}/ld")
            done = subprocess.run([program, *map(str, argv)], env=env, capture_output=True, text=True, check=False)
            if works and done.returncode:
                sys.exit(done.stderr)
        for log in pathlib.Path(work).glob("ld.*"):
            found |= set(re.findall(r"calling init: (/\S+)", log.read_text()))
    return sorted({pathlib.Path(f).resolve() for f in found} - {pathlib.Path(program).resolve()})


def package_of(path):
    """The Debian package that a file is from, or None. /lib is a link to /usr/lib, and the database knows files by either name."""
    for name in (path, str(path).removeprefix("/usr")):
        done = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.split(": ")[0].split(",")[0]
    return None


def licences(package):
    """What the package's copyright file says of most of its files; where it is not machine-readable, where to read it."""
    path = pathlib.Path("/usr/share/doc", package.split(":")[0], "copyright")
    text = path.read_text(errors="replace") if path.exists() else ""
    stanzas = re.split(r"\n\s*\n", text)
    for stanza in stanzas:
        if re.search(r"^Files:\s*\*\s*$", stanza, re.M) and (found := re.search(r"^License:\s*(\S[^\n]*)$", stanza, re.M)):
            name = found[1].strip()
            return [{"license": {"id": SPDX[name]} if name in SPDX else {"name": name}}]
    return [{"license": {"name": f"see {path}"}}]


def sha256(path):
    return [{"alg": "SHA-256", "content": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()}]


def debian_component(package):
    version, architecture, source, homepage = output("dpkg-query", "-W", "-f", "${Version}\t${Architecture}\t${source:Package}\t${Homepage}", package).split("\t")
    name = package.split(":")[0]
    component = {"type": "library", "bom-ref": f"deb:{name}", "name": name, "version": version, "licenses": licences(package),
                 "purl": f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}&distro=debian-12",
                 "properties": [{"name": "seqmsed:debian-source", "value": source}]}
    if homepage:
        component["externalReferences"] = [{"type": "website", "url": homepage}]
    return component


def runtime_component(path, version):
    return {"type": "library", "bom-ref": "onnxruntime", "name": "onnxruntime", "version": version, "licenses": [{"license": {"id": "MIT"}}], "hashes": sha256(path),
            "purl": f"pkg:pypi/onnxruntime@{version}", "description": "its ThirdPartyNotices.txt, which is passed on with it, lists what is inside",
            "externalReferences": [{"type": "website", "url": "https://onnxruntime.ai"}]}


def needed(path):
    return re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-d", path))


def bill(program):
    version, runtime = re.search(r"seqmsed (\S+), ONNX Runtime (\S+)", output(program, "version")).groups()
    components, owner = {}, {}
    for path in loaded(program):
        if "onnxruntime" in path.name:
            component = runtime_component(path, runtime)
        else:
            package = package_of(path)
            if not package:
                sys.exit(f"{path} is loaded, and nobody knows what package it is from")
            component = components.get(f"deb:{package.split(':')[0]}") or debian_component(package)
            component["properties"].append({"name": "seqmsed:loaded", "value": str(path)})
        components[component["bom-ref"]] = component
        owner[path] = component["bom-ref"]
    if not any(name == "onnxruntime" for name in components):
        sys.exit("no ONNX Runtime was loaded")

    proto = debian_component(package_of(ONNX_PROTO))
    spdx = re.search(r"SPDX-License-Identifier: (\S+)", ONNX_PROTO.read_text())
    proto |= {"licenses": [{"license": {"id": spdx[1]}}], "hashes": sha256(ONNX_PROTO), "description": "code that protoc-c makes of onnx.proto is compiled in"}
    components[proto["bom-ref"]] = proto

    by_name = {p.name: ref for p, ref in owner.items()}
    for path, ref in owner.items():  # links such as libz.so.1, by which libraries ask for each other
        soname = re.search(r"SONAME.*\[(.*)\]", output("readelf", "-d", path))
        if soname:
            by_name[soname[1]] = ref
    edges = {ref: set() for ref in components}
    for path, ref in owner.items():
        edges[ref] |= {by_name[n] for n in needed(path) if n in by_name} - {ref}
    # The program asks for some by itself: whatever no other library asked for.
    asked = set().union(*edges.values())
    edges["seqmsed"] = {by_name[n] for n in needed(program) if n in by_name} | (set(components) - asked)

    body = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
            "metadata": {"component": {"type": "application", "bom-ref": "seqmsed", "name": "seqmsed", "version": version, "licenses": [{"license": {"id": "BSD-2-Clause"}}],
                                       "hashes": sha256(program), "purl": f"pkg:generic/seqmsed@{version}"}},
            "components": [components[ref] for ref in sorted(components)],
            "dependencies": [{"ref": ref, "dependsOn": sorted(edges[ref])} for ref in sorted(edges)]}
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "serialNumber": f"urn:uuid:{number}"} | body


def validate(text):
    sys.path.insert(0, str(TOP / "build/deps/package"))
    try:
        from cyclonedx.schema import OutputFormat, SchemaVersion
        from cyclonedx.validation import make_schemabased_validator
    except ImportError:
        return "not validated: make deps-dev brings the validator"
    fault = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6).validate_str(text)
    if fault:
        sys.exit(f"not valid: {fault}")
    return "valid CycloneDX 1.6"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    program, out = sys.argv[1:]
    bom = bill(os.path.abspath(program))
    text = json.dumps(bom, indent=2) + "\n"
    verdict = validate(text)
    pathlib.Path(out).write_text(text)
    print(f"{out}: seqmsed and {len(bom['components'])} components, {verdict}")


if __name__ == "__main__":
    main()
