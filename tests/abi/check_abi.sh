#!/bin/sh
# Compares the library's ABI with the stored dump: check_abi.sh LIBRARY DUMP HEADERS SUPPRESSIONS
command -v abidiff >/dev/null || { echo "abidiff is not installed"; exit 77; }
exec abidiff --headers-dir1 "$3" --headers-dir2 "$3" --no-added-syms --suppressions "$4" "$2" "$1"
