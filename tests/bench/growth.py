"""How libmio's work grows: training step against batch, width and image size, loss against the number of pairs, both against
threads. Prints tables; each line's share of the ideal is what the first line's speed would give over what was measured.

  python3 growth.py --build BUILD [--clock cpu] [--patience SECONDS]

The lines of a table are measured alternately. --clock cpu counts CPU time, on one thread: for a machine that others use too.
"""
import argparse
import os

from alternate import Contender, alternate

# Table, what a line varies, its other arguments, and the lines: value and the multiple of the first line's work.
GROWTH = (
    ("training step, ResNet-18 width 16: images", "batch", ["step", "--width", "16"],
     [(b, b / 32) for b in (32, 64, 128, 256, 512)]),
    ("training step, ResNet-18, 64 images: width", "width", ["step", "--batch", "64"],
     [(w, (w / 16) ** 2) for w in (16, 32, 64, 128)]),
    ("training step, ResNet-18 width 16, 64 images: pixels a side", "size", ["step", "--width", "16", "--batch", "64"],
     [(s, (s / 16) ** 2) for s in (16, 24, 32, 48, 64, 96)]),
    ("mio loss with gradients, 128 columns: pairs", "pairs", ["loss", "--dim", "128"],
     [(n, (n / 256) ** 2) for n in (256, 1024, 4096, 16384, 65536)]),
)
THREADED = (("training step, ResNet-18 width 64, 64 images: threads", ["step", "--width", "64", "--batch", "64"]),
            ("training step, ResNet-18 width 16, 128 images: threads", ["step", "--width", "16", "--batch", "128"]),
            ("mio loss with gradients, 1024 pairs of 128: threads", ["loss", "--pairs", "1024", "--dim", "128"]))


def table(options, title, lines, threads):
    """lines: [(name, arguments, work)]"""
    contenders = [Contender(name, "ours", [os.path.join(options.build, "tests", "bench", "ours"), *arguments, "--pause", "1",
                                           "--warm-up", "1", "--clock", options.clock, *threads]) for name, arguments, _ in lines]
    results, shares = alternate(contenders, options.rounds, 1, 60, options.patience)
    print("\n| %s | min ms | median ms | of the ideal | peak MB |\n|---|---|---|---|---|" % title)
    for result, (name, _, work) in zip(results, lines):
        print("| %s | %.2f | %.2f | %.2f | %.0f |" % (name, result["min_ms"], result["median_ms"], results[0]["min_ms"] * work /
                                                      result["min_ms"], result["peak_mb"]))
    print("\n%.2f CPUs kept busy by others." % shares["foreign_cpu"], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="build folder of meson")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patience", type=float, default=0, help="seconds that a table may wait for an idle machine")
    options = parser.parse_args()
    threads = ["--threads", "1"] if options.clock == "cpu" else []
    for title, parameter, fixed, values in GROWTH:
        table(options, title, [(str(v), [*fixed, "--" + parameter, str(v)], work) for v, work in values], threads)
    counts = [1 << i for i in range((os.cpu_count() or 1).bit_length())] if options.clock == "wall" else []
    for title, fixed in THREADED if counts else ():
        table(options, title, [(str(n), [*fixed, "--threads", str(n)], 1 / n) for n in counts], [])


if __name__ == "__main__":
    main()
