#!/bin/sh
# Runs every test on Debian 12, installing what is missing: the suites as built by default and under lower instruction sets,
# under ASan + UBSan and TSan, a build with nothing optional, and a smoke test on an emulated CPU without AVX.
# MIO_TEST_DATA, where set, is the folder with cifar10-jpeg.tar.gz. Ends with one line: N passed, N failed, N skipped.
set -eu
cd "$(dirname "$0")/.."
sh examples/packages.sh gcc g++ clang meson ninja-build pkg-config libxsmm-dev zlib1g-dev check libjpeg62-turbo-dev \
    libpng-dev dataset-fashion-mnist python3 python3-numpy cmake doxygen abigail-tools qemu-user binutils
# Other than Debian's will do for these, and exclude Debian's.
command -v rustc >/dev/null || sh examples/packages.sh rustc
command -v node >/dev/null || sh examples/packages.sh nodejs libnode-dev

work=build/tests
mkdir -p "$work"
logs=

# configure NAME MESON SETUP ARGUMENTS...: builds in $work/NAME
configure() {
    name=$1
    shift
    if [ -d "$work/$name/meson-private" ]; then
        meson configure "$work/$name" "$@" >/dev/null
    else
        meson setup "$work/$name" "$@" >"$work/$name.setup.log" || { cat "$work/$name.setup.log"; return 1; }
    fi
    ninja -C "$work/$name" >"$work/$name.build.log" || { tail -n 60 "$work/$name.build.log"; return 1; }
}

# check NAME LOG MESON TEST ARGUMENTS...: a failing test is counted at the end; what comes after is tested all the same
check() {
    name=$1 log=$work/$1/meson-logs/$2.json
    shift 2
    echo "== $name $*"
    rm -f "$log"
    meson test -C "$work/$name" --no-rebuild --print-errorlogs "$@" || true
    logs="$logs $log"
}

configure default -Dwerror=true "-Dtest_data=${MIO_TEST_DATA:-}"
check default testlog
targets="hsw wsm generic"
grep -q avx512 /proc/cpuinfo || targets="wsm generic" # the suites have just run as hsw
for target in $targets; do
    check default testlog-$target --setup $target
done

configure minimal -Dauto_features=disabled -Dexamples=false
check minimal testlog --suite core --suite loss --suite nn --suite data

configure address -Db_sanitize=address,undefined -Db_lundef=false -Dauto_features=disabled -Djpeg=enabled \
    -Dpng=enabled -Dexamples=false
CK_FORK=no ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 check address testlog -t 10

configure thread -Db_sanitize=thread -Db_lundef=false -Dauto_features=disabled -Dexamples=false
CK_FORK=no TSAN_OPTIONS=halt_on_error=1 check thread testlog -t 20

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
            print(f"FAILED {log.split('/')[2]} {log.split('/')[-1]}: {test['name']} ({result})")
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
END
