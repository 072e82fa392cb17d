#!/usr/bin/env python3
"""Compares what the public headers declare with what the shared library exports: check_exports.py LIBRARY HEADER..."""
import re
import subprocess
import sys

library, headers = sys.argv[1], sys.argv[2:]
declared = set()
for header in headers:
    text = re.sub(r"/\*.*?\*/", "", open(header, encoding="utf-8").read(), flags=re.S)
    for declaration in re.findall(r"MIO_API\s[^;]*?\b(mio_[a-z0-9_]+)\s*\(", text):
        declared.add(declaration)

listing = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[-1].split("@")[0] for line in listing.splitlines() if line.strip()}
functions = {name for name in exported if name.startswith("mio_")}

failures = [f"declared but not exported: {name}" for name in sorted(declared - functions)]
failures += [f"exported but not declared: {name}" for name in sorted(functions - declared)]
failures += [f"foreign symbol: {name}" for name in sorted(exported - functions) if not name.startswith("MIO_")]

dynamic = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
for needed in re.findall(r"NEEDED.*\[(.*?)\]", dynamic):
    if not re.match(r"(libc|libm|libz|libjpeg|libpng16|ld-linux-x86-64|libasan|libubsan|libtsan)\.so", needed):
        failures.append(f"needs {needed} at run time")
if "SONAME" not in dynamic or "[libmio.so.0]" not in dynamic:
    failures.append("soname is not libmio.so.0")

print("\n".join(failures) or f"{len(declared)} functions declared and exported, nothing else")
sys.exit(bool(failures))
