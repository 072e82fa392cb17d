#!/bin/sh
# Stores the ABI of a library, at a release or after a deliberate change before 1.0: dump_abi.sh LIBRARY (from the source root)
set -eu
abidw --headers-dir include --exported-interfaces-only --no-show-locs --no-corpus-path \
    --no-comp-dir-path --out-file tests/abi/mio.abi.xml "$1"
sed -i "s,path='[^']*/lib/,path='lib/," tests/abi/mio.abi.xml
