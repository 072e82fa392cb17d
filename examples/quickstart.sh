#!/bin/sh
# From a bare Debian 12 to a trained encoder: installs what is missing, builds, pretrains a small encoder on the images
# of Fashion-MNIST without their labels (two to three minutes on two cores), measures it against the same encoder
# untrained and against raw pixels, and draws a page about it. Asks nothing; needs root or sudo only where packages are
# missing. Everything is written to build/quickstart; another run starts afresh. Arguments are handed on to pretrain.
set -eu
cd "$(dirname "$0")/.."
sh examples/packages.sh gcc meson ninja-build pkg-config libxsmm-dev zlib1g-dev libjpeg62-turbo-dev libpng-dev \
    dataset-fashion-mnist

mkdir -p build
build=build/quickstart
run=$build/run
images=/usr/share/datasets/fashion-mnist
classes='T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot'

echo "building in $build"
[ -d "$build/meson-private" ] || {
    meson setup "$build" --buildtype=release -Dtests=false -Dbindings=disabled -Ddocs=disabled >"$build.log" ||
        { cat "$build.log"; exit 1; }
}
ninja -C "$build" >"$build.log" || { tail -n 40 "$build.log"; exit 1; }

rm -rf "$run"
echo 'pretraining on 60000 images without labels'
"$build/examples/pretrain" --dataset idx "$images" train --recipe mio-tiny --output "$run" "$@"
echo 'measuring with the labels: training images to learn from, test images to count'
"$build/examples/evaluate" "$run/encoder.mio" --dataset idx "$images" --knn dino --raw --untrained \
    --json "$run/evaluation.json"
"$build/examples/report" --run "$run" --dataset idx "$images" test --evaluation "$run/evaluation.json" \
    --classes "$classes" --title 'MIO on Fashion-MNIST, without labels' --html "$build/report.html"
echo "the page: $(pwd)/$build/report.html"
