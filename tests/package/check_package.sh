#!/bin/sh
# Installs the build into a folder, moves that folder, and builds a consumer from it with pkg-config alone and with CMake
# alone, shared and static: check_package.sh BUILD CONSUMER.c
set -eu
build=$1
consumer=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

DESTDIR="$work/staged" meson install -C "$build" --no-rebuild --quiet
prefix=$(find "$work/staged" -name mio.h -path '*include/mio/mio.h' | sed 's,/include/mio/mio.h$,,')
mv "$prefix" "$work/moved"
pc=$(find "$work/moved" -name mio.pc)
libdir=$(find "$work/moved" -name libmio.so -printf '%h')
PKG_CONFIG_PATH=${pc%/*}
export PKG_CONFIG_PATH

echo "pkg-config, shared"
# shellcheck disable=SC2046
cc -std=c99 -Wall -Wextra -Wpedantic -Werror "$consumer" -o "$work/shared" $(pkg-config --cflags --libs mio) -Wl,-rpath,"$libdir"
"$work/shared"

echo "pkg-config, static"
mkdir "$work/archive"
cp "$libdir/libmio.a" "$work/archive/"
# shellcheck disable=SC2046
cc -std=c99 "$consumer" -o "$work/static" $(pkg-config --cflags mio) -L"$work/archive" $(pkg-config --static --libs mio | sed "s,-L[^ ]*moved[^ ]*,,")
"$work/static"
if ldd "$work/static" | grep libmio; then echo "the static consumer needs libmio.so"; exit 1; fi

if command -v cmake >/dev/null; then
    unset PKG_CONFIG_PATH
    for target in mio::mio mio::mio_static; do
        echo "CMake, $target"
        rm -rf "$work/cmake"
        mkdir "$work/cmake"
        cp "$consumer" "$work/cmake/consumer.c"
        cat >"$work/cmake/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.16)
project(consumer C)
find_package(mio 0.1 REQUIRED)
add_executable(consumer consumer.c)
target_link_libraries(consumer PRIVATE $target)
END
        cmake -G Ninja -S "$work/cmake" -B "$work/cmake/build" -DCMAKE_PREFIX_PATH="$work/moved" >"$work/cmake/log" 2>&1 &&
            cmake --build "$work/cmake/build" >>"$work/cmake/log" 2>&1 || { cat "$work/cmake/log"; exit 1; }
        "$work/cmake/build/consumer"
    done
else
    echo "CMake is not installed: only pkg-config was checked"
fi
