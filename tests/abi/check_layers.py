#!/usr/bin/env python3
"""Checks that #include lines follow the dependency arrows of lib/: check_layers.py SOURCE_ROOT"""
import pathlib
import re
import sys

ALLOWED = {
    "core": {"core"},
    "kernels": {"core", "kernels"},
    "data": {"core", "data", "kernels"},
    "nn": {"core", "kernels", "nn"},
    "loss": {"core", "kernels", "loss"},
    "analysis": {"core", "kernels", "nn", "loss", "analysis"},
    "optim": {"core", "kernels", "nn", "optim"},
    "train": {"core", "kernels", "data", "nn", "loss", "optim", "train"},
    "evaluate": {"core", "kernels", "data", "nn", "loss", "optim", "train", "evaluate"},
}
# data may use the vector-variant machinery of kernels, and nothing else of it.
DATA_MAY_SEE = {"kernels/variant.h", "kernels/target.h"}

failures = []
root = pathlib.Path(sys.argv[1]) / "lib"
for source in sorted(root.rglob("*.[ch]")):
    folder = source.relative_to(root).parts[0]
    for line in source.read_text(encoding="utf-8").splitlines():
        local = re.match(r'\s*#\s*include\s+"([a-z_]+)/([^"]+)"', line)
        if local and local[1] not in ALLOWED[folder]:
            failures.append(f"{source.relative_to(root)} includes {local[1]}/{local[2]}")
        if local and folder == "data" and local[1] == "kernels" and f"{local[1]}/{local[2]}" not in DATA_MAY_SEE:
            failures.append(f"{source.relative_to(root)} includes {local[1]}/{local[2]}")
        if re.match(r"\s*#\s*include\s+<libxsmm", line) and folder != "kernels":
            failures.append(f"{source.relative_to(root)} includes libxsmm; only lib/kernels may")

print("\n".join(failures) or "all includes follow the arrows")
sys.exit(bool(failures))
