#!/bin/sh
# Runs every test on Debian 12, installing what is missing: the suites as built by default and under lower instruction sets,
# under ASan + UBSan and TSan, a build with nothing optional, and a smoke test on an emulated CPU without AVX.
# Ends with one line: N passed, N failed, N skipped.
set -eu
cd "$(dirname "$0")/.."
sh examples/packages.sh gcc g++ clang meson ninja-build pkg-config libxsmm-dev zlib1g-dev check libjpeg62-turbo-dev \
    libpng-dev dataset-fashion-mnist python3 python3-numpy cmake doxygen abigail-tools qemu-user binutils

work=build/tests
mkdir -p "$work"
logs=

# configure_and_test NAME "MESON TEST ARGUMENTS" MESON SETUP ARGUMENTS...
configure_and_test() {
    name=$1 tests=$2
    shift 2
    echo "== $name"
    if [ -d "$work/$name/meson-private" ]; then
        meson configure "$work/$name" "$@" >/dev/null
    else
        meson setup "$work/$name" "$@" >"$work/$name.setup.log" || { cat "$work/$name.setup.log"; return 1; }
    fi
    ninja -C "$work/$name" >"$work/$name.build.log" || { tail -n 60 "$work/$name.build.log"; return 1; }
    rm -f "$work/$name/meson-logs/testlog.json"
    # A failing test is counted at the end: the other builds are tested all the same.
    # shellcheck disable=SC2086
    meson test -C "$work/$name" --no-rebuild --print-errorlogs $tests || true
    logs="$logs $work/$name/meson-logs/testlog.json"
}

configure_and_test default "" -Dwerror=true
configure_and_test minimal "--suite core --suite loss --suite nn --suite data" \
    -Dauto_features=disabled -Dexamples=false
CK_FORK=no ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    configure_and_test address "-t 10 --no-suite targets" -Db_sanitize=address,undefined -Db_lundef=false -Dauto_features=disabled \
    -Djpeg=enabled -Dpng=enabled -Dexamples=false
CK_FORK=no TSAN_OPTIONS=halt_on_error=1 \
    configure_and_test thread "-t 10 context loader embed trainer contract" -Db_sanitize=thread -Db_lundef=false -Dauto_features=disabled -Dexamples=false

python3 - $logs <<'END'
import json, sys
passed = failed = skipped = 0
for log in sys.argv[1:]:
    for line in open(log, encoding="utf-8"):
        test = json.loads(line)
        result = test["result"]
        passed += result in ("OK", "EXPECTEDFAIL")
        skipped += result == "SKIP"
        if result not in ("OK", "EXPECTEDFAIL", "SKIP"):
            failed += 1
            print(f"FAILED {log.split('/')[2]}: {test['name']} ({result})")
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
END
